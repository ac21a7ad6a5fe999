"""How long a sweep will still take: by hand, and over the journals of real sweeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_sweeps import (
    FORKED,
    PROBLEM,
    SHARED_RANGE,
    STEERED,
    begun,
    digits,
    ended,
    planted_sweep,
    shared_start,
    sparsities,
    state_of,
)

from strsweep.auto import resolve
from strsweep.cluster.status import Remaining
from strsweep.config import Experiment
from strsweep.journal import Event, RunFinished, RunProposed, SweepRecord, SweepStarted
from strsweep.journal.events import EVENT
from strsweep.journal.record import add
from strsweep.search.runs import Run, StateReader, Status
from strsweep.search.space import onset_of
from strsweep.settings import RunSettings, Target

TARGETS = EIGHTY, NINETY, NINETY_FIVE = sparsities(0.8, 0.9, 0.95)
ASKED = ("search.targets=[0.8, 0.9, 0.95]",)


def run_for(target: Target, epoch: int, settings: RunSettings = FORKED) -> Run:
    assert target.sparsity is not None
    run = ended(1, settings, target.sparsity, target=target)
    return begun(run, epoch, status=Status.FINISHED if epoch == 30 else Status.RUNNING)


def seconds(
    experiment: Experiment, *runs: Run, slots: int = 1, per_epoch: float = 2.0
) -> float | None:
    """Return what is left where every epoch took ``per_epoch`` seconds, and no run was started."""
    lost = replace(run_for(Target(sparsity=0.5), 10), status=Status.FAILED, target=None)
    seen = [replace(run, trained_epochs=10, trained_s=10 * per_epoch) for run in (lost, *runs)]
    remaining = Remaining(onset_of(experiment, PROBLEM), slots)
    return remaining.seconds(state_of(experiment, *seen), 200.0)


START = shared_start(digits())
WHOLE = shared_start(digits(), is_whole=True)
BASELINE = (*ASKED, "search.baseline=true")


@pytest.mark.parametrize(
    ("overrides", "runs", "slots", "epochs"),
    [
        (ASKED, [], 1, 10 + 3 * 20),
        (ASKED, [replace(begun(START, 4), prefix=None)], 1, 6 + 3 * 20),
        (ASKED, [START], 1, 60),
        (ASKED, [START], 2, 30),
        (ASKED, [START], 3, 20),
        (ASKED, [START], 8, 20),  # no more than there are runs
        (ASKED, [START, run_for(NINETY, 30)], 1, 40),
        (ASKED, [START, run_for(NINETY, 25)], 1, 5 + 40),
        (ASKED, [START, run_for(NINETY, 25)], 3, 20),  # the longest
        (ASKED, [START, run_for(NINETY, 0)], 1, 60),  # a fork that has just begun
        (ASKED, [START, begun(run_for(NINETY, 15), 15, status=Status.PAUSED)], 1, 15 + 40),
        (ASKED, [START, *(run_for(target, 30) for target in TARGETS)], 2, 0),
        # A run that missed is no run for its target any more.
        (ASKED, [START, replace(run_for(NINETY, 30), sparsity=0.6)], 1, 60),
        (BASELINE, [], 1, 30 + 60),
        (BASELINE, [begun(WHOLE, 12)], 1, 18 + 60),
        (BASELINE, [START], 1, 20 + 60),  # forked
        (BASELINE, [WHOLE], 1, 60),
        ((*ASKED, "search.refine=2"), [START], 1, 60 + 40),
        (
            (*ASKED, "search.refine=2"),
            [
                START,
                *(run_for(target, 30) for target in TARGETS),
                replace(run_for(NINETY, 22), target=None, refines=NINETY),
            ],
            1,
            8 + 20,
        ),
        ((*ASKED, *SHARED_RANGE), [], 2, 45),
        ((*ASKED, *STEERED, "search.baseline=true"), [], 1, 30 + 90),
    ],
)
def test_what_is_left_by_hand(
    overrides: tuple[str, ...], runs: list[Run], slots: int, epochs: float
) -> None:
    experiment = digits(*overrides)
    assert seconds(experiment, *runs, slots=slots) == pytest.approx(2.0 * epochs)


def test_nothing_is_said_before_an_epoch_was_trained() -> None:
    experiment, remaining = digits(*ASKED), Remaining(10, 1)
    assert remaining.seconds(state_of(experiment), 5.0) is None
    remaining.begin("run-001", 0.0)
    assert remaining.seconds(state_of(experiment, begun(START, 0)), 1e4) is None


def test_starting_a_run_is_counted_beside_its_epochs() -> None:
    experiment, remaining = digits(*ASKED), Remaining(10, 1)
    remaining.begin(START.run_id, 0.0)
    remaining.end(START.run_id, 50.0)
    start = replace(START, trained_epochs=10, trained_s=20.0)  # and 30 s to start
    assert remaining.seconds(state_of(experiment, start), 50.0) == 3 * (30.0 + 20 * 2.0)
    # Of the next run 12 s of the start are over, and then 5 of its epochs.
    first = replace(run_for(NINETY, 10), run_id="run-002")
    remaining.begin("run-002", 100.0)
    left = remaining.seconds(state_of(experiment, start, first), 112.0)
    assert left == pytest.approx(18.0 + 40.0 + 2 * 70.0)
    first = replace(first, epoch=15, trained_epochs=5, trained_s=10.0)
    left = remaining.seconds(state_of(experiment, start, first), 140.0)
    assert left == pytest.approx(15 * 2.0 + 2 * 70.0)  # 40 s, of which 30 are the start


def test_runs_at_a_time_share_what_is_left() -> None:
    experiment, remaining = digits(*ASKED), Remaining(10, 2)
    runs = [START, run_for(EIGHTY, 20), run_for(NINETY, 20)]
    runs = [replace(run, trained_epochs=10, trained_s=100.0) for run in runs]
    # 10 + 10 + 20 epochs of 10 s are left for two slots.
    assert remaining.seconds(state_of(experiment, *runs), 0.0) == 20 * 10.0


@given(
    st.lists(st.tuples(st.sampled_from(TARGETS), st.integers(0, 30)), max_size=6),
    st.sampled_from([ASKED, BASELINE, (*ASKED, "search.refine=3")]),
    st.booleans(),
    st.integers(1, 5),
)
def test_what_is_left_is_never_negative_and_falls(
    begun_for: list[tuple[Target, int]], overrides: tuple[str, ...], has_start: bool, slots: int
) -> None:
    experiment = digits(*overrides)
    runs = [run_for(target, epoch) for target, epoch in begun_for]
    starts = [WHOLE] if has_start else []
    left = seconds(experiment, *starts, *runs, slots=slots)
    assert left is not None
    assert left >= 0
    state = state_of(experiment, *starts, *runs)
    is_over = not state.running and not state.open_targets and experiment.search.refine == 0
    assert (left == 0) == (is_over and has_start)
    further = [
        replace(run, epoch=run.epoch + 1) if run.status is Status.RUNNING else run for run in runs
    ]
    later = seconds(experiment, *starts, *further, slots=slots)
    assert later is not None
    assert later <= left


def test_the_first_estimate_is_what_a_sweep_without_a_miss_trains() -> None:
    sweep = planted_sweep(*BASELINE)
    sweep.search()
    assert seconds(digits(*BASELINE)) == 2.0 * sweep.epochs


RECORDED = sorted((Path(__file__).parent / "recorded_sweeps").glob("*.jsonl"))
assert len(RECORDED) >= 2
"""Written by ``strip_journal.py`` beside this file: rows without thresholds and layers."""
SLOTS = 2
ALLOWED = 0.30


def events_of(path: Path) -> list[Event]:
    return [EVENT.validate_json(line) for line in path.read_text().splitlines()]


def estimates(events: list[Event]) -> Iterator[tuple[float, float]]:
    """Yield the share of the sweep's time that is over, and the error of the end as a share."""
    [started] = [event for event in events if isinstance(event, SweepStarted)]
    experiment = resolve(Experiment.model_validate(started.experiment), started.problem)
    record, reader = SweepRecord(), StateReader(experiment, started.problem)
    remaining, running = Remaining(onset_of(experiment, started.problem), SLOTS), set[str]()
    begin, end = started.time, events[-1].time
    for event in events:
        add([event], record)
        if isinstance(event, RunProposed):
            running.add(event.run_id)
            remaining.begin(event.run_id, event.time)
        elif isinstance(event, RunFinished):
            running.discard(event.run_id)
            remaining.end(event.run_id, event.time)
        left = remaining.seconds(reader.state(record, running), event.time)
        if left is not None:
            whole = end - begin
            yield (event.time - begin) / whole, abs(event.time + left - end) / whole


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_end_is_told_after_a_third_of_the_time(path: Path) -> None:
    told = list(estimates(events_of(path)))
    after = [error for over, error in told if over >= 1 / 3]
    for share in (1 / 3, 1 / 2, 3 / 4):
        error = next(error for over, error in told if over >= share)
        print(f"{path.stem}: after {share:.0%} of the time the end is off by {error:.0%}")
    assert len(after) > 10
    assert after[0] <= ALLOWED
    assert max(after) <= ALLOWED

"""How long a sweep will still take, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_sweeps import (
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

from strsweep.cluster.remaining import Remaining
from strsweep.config import Experiment
from strsweep.search.runs import Run, Status
from strsweep.search.space import onset_of
from strsweep.settings import Fork, RunSettings, Target

FORKED = RunSettings(
    threshold_init=-7,
    weight_decay=5e-4,
    threshold_decay=0.02,
    onset=10,
    fork=Fork(folder="runs/run-001/epoch_00010", epoch=10),
)
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

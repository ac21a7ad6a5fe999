"""How long a sweep will still take, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_sweeps import (
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

from strsweep.config import Experiment, Fork, RunSettings, Target
from strsweep.search.remaining import Remaining
from strsweep.search.runs import Run, Status
from strsweep.search.space import onset_of

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
    """Return what is left after ten epochs of this job took ``per_epoch`` seconds each."""
    remaining = Remaining(onset_of(experiment), slots)
    remaining.begin("run-001", 100.0, state_of(experiment, epochs=40))  # of earlier jobs
    remaining.end("run-001", 100.0 + 6 * per_epoch)
    remaining.begin("run-002", 200.0, state_of(experiment, epochs=46))
    return remaining.seconds(state_of(experiment, *runs, epochs=50), 200.0 + 4 * per_epoch)


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


def test_nothing_is_said_before_an_epoch_was_trained_in_this_job() -> None:
    experiment = digits(*ASKED)
    remaining = Remaining(10, 1)
    assert remaining.seconds(state_of(experiment, epochs=0), 5.0) is None
    remaining.begin("run-001", 0.0, state_of(experiment, epochs=40))
    assert remaining.seconds(state_of(experiment, epochs=40), 1e4) is None
    # The start of its processes is part of the time.
    assert remaining.seconds(state_of(experiment, START, epochs=41), 50.0) == 60 * 50.0


def test_two_runs_at_a_time_take_twice_as_long_each() -> None:
    experiment, remaining = digits(*ASKED), Remaining(10, 2)
    for run_id in ("run-002", "run-003"):
        remaining.begin(run_id, 0.0, state_of(experiment))
    runs = [START, run_for(EIGHTY, 20), run_for(NINETY, 20)]
    # Twenty epochs in 100 s by two slots: 10 s each; 10 + 10 + 20 are left for two slots.
    assert remaining.seconds(state_of(experiment, *runs, epochs=20), 100.0) == 20 * 10.0


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
    further = [replace(run, epoch=run.epoch + 1) if run.is_running else run for run in runs]
    later = seconds(experiment, *starts, *further, slots=slots)
    assert later is not None
    assert later <= left


def test_the_first_estimate_is_what_a_sweep_without_a_miss_trains() -> None:
    sweep = planted_sweep(*BASELINE)
    sweep.search()
    assert seconds(digits(*BASELINE)) == 2.0 * sweep.epochs

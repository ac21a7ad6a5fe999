"""A run that would miss goes on with the weight decay whose drive leads to its target."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_simulation import (
    LEVEL,
    PATH,
    PROBLEM,
    Noisy,
    Simulated,
    a_goal,
    digits,
    finished_run,
    smooth,
    sparsities,
    unfinished_run,
)

from strsweep.config import Correction
from strsweep.sweep.correction import Course, Courses, best_resumption
from strsweep.sweep.outlook import Outlook
from strsweep.sweep.path import SearchPath
from strsweep.sweep.search import decide
from strsweep.sweep.state import Goal, Resume, Spent, UnfinishedRun

KNOWN = [finished_run(p, LEVEL(p), n) for n, p in enumerate((0.2, 0.35, 0.5, 0.65, 0.8), start=1)]
NINETY, NINETY_FIVE = sparsities(0.9, 0.95)
AT_NINETY = (np.log(9) + 2) / 8
"""The position where ``LEVEL`` is 90 %."""


def course(run: UnfinishedRun, goal: Goal | None = None, path: SearchPath = PATH) -> Course:
    goal = goal or a_goal([NINETY])
    outlook = Outlook(goal, path, KNOWN, [run])
    (best,) = Courses([run], "sparsity", goal, path, outlook).best(NINETY)
    return best


@given(st.floats(0.04, 0.12), st.sampled_from([15, 20]), st.booleans())
def test_the_correction_has_the_drive_of_the_target(
    off: float, epochs: int, is_sparser: bool
) -> None:
    position = AT_NINETY + (off if is_sparser else -off) * (0.5 if epochs == 20 else 1.0)
    found = course(unfinished_run(position, NINETY, final=LEVEL(position), epochs=epochs))
    assert found.correction is not None
    assert found.correction.after_epoch == epochs
    settings = PATH.at(position)
    if found.chance > 0.5:  # within what is still to come of the drive
        corrected = settings.corrected(found.correction)
        assert PATH.locate(corrected) == pytest.approx(AT_NINETY, abs=0.01)
    assert (found.correction.weight_decay < settings.weight_decay) == is_sparser
    assert found.chance > found.unchanged


@given(st.floats(0.0, 1.0), st.floats(0.05, 0.95), st.sampled_from([10, 15, 20, 25, 29]))
def test_no_correction_leaves_its_limits(position: float, final: float, epochs: int) -> None:
    found = course(unfinished_run(position, NINETY, final=final, epochs=epochs))
    assert 0 <= found.unchanged <= found.chance <= 1
    if found.correction is not None:
        settings = PATH.at(position)
        assert 0.0999 <= found.correction.weight_decay / settings.weight_decay <= 3.001
        assert -1e-6 <= PATH.locate(settings.corrected(found.correction)) <= 1 + 1e-6


def test_a_run_on_its_way_to_the_target_is_left_alone() -> None:
    run = unfinished_run(AT_NINETY, NINETY, final=0.9, epochs=20)
    assert course(run).correction is None
    goal = a_goal([NINETY])
    found = best_resumption([run], [NINETY], goal, PATH, Outlook(goal, PATH, KNOWN, [run]))
    assert found is not None
    assert found.correction is None


def test_late_in_training_little_can_be_changed() -> None:
    chances = [
        course(unfinished_run(0.6, NINETY, final=LEVEL(0.6), epochs=epochs)).chance
        for epochs in (15, 20, 25, 29)
    ]
    assert chances[0] > 0.2
    assert chances[-1] < 1e-3
    assert max(chances[2:]) < 0.01


def test_vague_forecasts_change_nothing() -> None:
    before_half = unfinished_run(0.6, NINETY, final=LEVEL(0.6), epochs=14)
    assert course(before_half).correction is None
    now = unfinished_run(0.6, NINETY, final=LEVEL(0.6), epochs=15)
    assert course(now).correction is not None


def test_a_correction_counts_from_the_last_checkpoint() -> None:
    goal = Goal(
        targets=(NINETY,),
        dense_macs=PROBLEM.dense_macs,
        tolerance=0.005,
        epochs=30,
        max_runs=9,
        checkpoint_every=5,
    )
    found = course(unfinished_run(0.57, NINETY, final=LEVEL(0.57), epochs=18), goal)
    assert found.correction is not None
    assert found.correction.after_epoch == 15


@pytest.mark.parametrize(
    ("goal", "path"),
    [
        (a_goal([NINETY], corrects=False), PATH),
        (a_goal([NINETY]), SearchPath.of(digits("sparsity.threshold_decay=1e-2"), PROBLEM)),
    ],
    ids=["search.correct=false", "thresholds have a decay of their own"],
)
def test_what_cannot_be_corrected_is_not(goal: Goal, path: SearchPath) -> None:
    found = course(unfinished_run(0.6, NINETY, final=LEVEL(0.6), epochs=15), goal, path)
    assert found == Course(chance=found.unchanged, unchanged=found.unchanged)


def test_experiments_say_whether_runs_may_be_corrected() -> None:
    for overrides, wanted in (
        ((), True),
        (("search.correct=false",), False),
        (("sparsity.threshold_decay=1e-2",), False),
    ):
        assert Goal.of(digits(*overrides), PROBLEM).corrects is wanted


def test_a_stopped_run_goes_on_to_its_own_target() -> None:
    goal = a_goal([NINETY, NINETY_FIVE])
    resting = unfinished_run(0.57, NINETY, final=LEVEL(0.57), epochs=15, is_running=False)
    decision = decide(goal, PATH, KNOWN, [resting], spent=Spent(runs=6))
    assert isinstance(decision, Resume)
    assert (decision.run_id, decision.target) == (resting.run_id, NINETY)
    assert isinstance(decision.correction, Correction)
    assert "weight decay" in decision.reason
    assert "90 %" in decision.reason


@pytest.mark.parametrize("slots", [1, 3])
def test_corrections_make_up_for_scatter(slots: int) -> None:
    def cost(corrects: bool, seed: int) -> float:
        goal = a_goal(corrects=corrects)
        curve = Noisy(smooth(-2, 6), 0.15, seed)
        sweep = Simulated(curve, goal, slots=slots, checkpoint_every=3)
        sweep.search()
        assert not sweep.missed
        return sweep.cost / len(goal.targets)

    with_them = np.median([cost(True, seed) for seed in range(7)])
    without = np.median([cost(False, seed) for seed in range(7)])
    print(f"{with_them:.2f} runs per target with corrections, {without:.2f} without")
    assert with_them < 0.9 * without

"""A plan tells first guesses and cost, by hand."""

from __future__ import annotations

import pytest
from search_simulation import PROBLEM, digits

from strsweep.sweep.auto import first_guess
from strsweep.sweep.plan import RUNS_PER_TARGET, Plan, plan_of, print_plan

LOW, HIGH = RUNS_PER_TARGET
STEERED = ("sparsity.mode=steered", "search.weight_decay=1e-4")


def plan(*overrides: str, slots: int = 2, minutes: float | None = None) -> Plan:
    return plan_of(digits(*overrides), PROBLEM, slots=slots, minutes_per_epoch=minutes)


def test_four_targets_by_hand() -> None:
    known = plan(minutes=2.0)
    assert known.runs == (4 * LOW, 4 * HIGH)
    assert known.epochs == (4 * LOW * 30, 4 * HIGH * 30)
    assert known.hours == pytest.approx((4 * LOW * 30 * 2 / 60 / 2, 4 * HIGH * 30 * 2 / 60 / 2))
    assert plan().hours is None
    experiment = digits()
    assert known.guesses == tuple(
        first_guess(experiment, PROBLEM, target) for target in experiment.search.targets
    )


def test_runs_that_are_told_take_one_each() -> None:
    told = plan(*STEERED)
    assert told.runs == (4, 4)
    assert told.epochs == (120, 120)
    assert told.guesses == ()


def test_refining_comes_on_top_and_limits_hold() -> None:
    assert plan("search.refine=3").runs == (4 * LOW + 3, 4 * HIGH + 3)
    assert plan("search.max_runs=3").runs == (3, 3)
    assert plan("search.max_runs=5", "search.refine=9").runs == (5, 5)
    assert plan(*STEERED, "search.refine=3").runs == (4, 4)
    assert plan("search.max_epochs=50").epochs == (50, 50)


def test_more_slots_than_targets_save_nothing() -> None:
    assert plan(slots=8, minutes=1.0).hours == plan(slots=4, minutes=1.0).hours
    single = plan("search.targets=[0.9]", slots=8, minutes=1.0).hours
    assert single is not None
    assert single[0] == pytest.approx(0.5)


def test_it_prints_guesses_reason_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    known = plan(minutes=2.0)
    print_plan(known)
    shown = capsys.readouterr().out
    assert f"{known.experiment.sweep_id} (str): 69,904 weights, 452,224 multiply-adds" in shown
    assert "11 steps in each of 30 epochs" in shown
    for guess in known.guesses:
        assert str(guess.target) in shown
        assert f"{guess.weight_decay:.3g}" in shown
    assert f"expected: {4 * LOW:g} to {4 * HIGH:g} full runs" in shown
    assert "2 at a time" in shown


def test_what_is_told_needs_no_guesses(capsys: pytest.CaptureFixture[str]) -> None:
    print_plan(plan(*STEERED))
    shown = capsys.readouterr().out
    assert "first guesses" not in shown
    assert "expected: 4 to 4 full runs, 120 to 120 epochs" in shown
    assert "hours" not in shown

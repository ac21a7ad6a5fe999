"""The delivered run is the most accurate within the tolerance; a miss comes with a way out."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from search_simulation import PROBLEM, a_goal, digits, finished_run, sparsities

from strsweep.config import Target
from strsweep.errors import SettingError
from strsweep.sweep.outcome import TargetOutcome, outcomes
from strsweep.sweep.spending import Limit
from strsweep.sweep.state import FinishedRun, Goal

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A shared machine may be slow; that is no failure."""

GOAL = a_goal(sparsities(0.9), max_runs=7)


def run(
    sparsity: float, accuracy: float = 0.5, position: float = 0.5, run_id: str = "run-001"
) -> FinishedRun:
    return replace(finished_run(position, sparsity, accuracy=accuracy), run_id=run_id)


SPENT = Limit("search.max_runs", 7, "is spent")


def outcome(
    *finished: FinishedRun, goal: Goal = GOAL, limit: Limit | None = SPENT
) -> TargetOutcome:
    (state,) = outcomes(goal, finished, limit)
    return state


def test_most_accurate_run_within_the_tolerance_is_chosen() -> None:
    nearest, best = run(0.9, 0.96), run(0.904, 0.97)
    too_far = run(0.906, 0.99)
    state = outcome(nearest, best, too_far)
    assert state.run == best
    assert state.closest == nearest
    assert state.miss == 0
    assert not state.advice


def test_among_equally_accurate_runs_the_nearest_is_chosen() -> None:
    far, near = run(0.904, 0.97), run(0.899, 0.97)
    assert outcome(far, near).run == outcome(near, far).run == near


def test_outcomes_keep_the_order_of_the_targets_and_share_runs() -> None:
    goal = a_goal(sparsities(0.95, 0.8, 0.802))
    states = outcomes(goal, [run(0.801)])
    assert [state.target for state in states] == list(goal.targets)
    assert [state.run is not None for state in states] == [False, True, True]


def test_nothing_finished() -> None:
    state = outcome()
    assert (state.run, state.closest, state.miss) == (None, None, None)
    assert state.advice == "no run has finished"


def test_miss_is_signed() -> None:
    assert outcome(run(0.88), run(0.95)).miss == pytest.approx(-0.02)
    assert outcome(run(0.93), run(0.85)).miss == pytest.approx(0.03)


def test_advice_within_the_ranges_names_budget_and_tolerance() -> None:
    state = outcome(run(0.91254, position=0.3), run(0.95, position=0.6))
    assert state.advice == (
        "raise search.max_runs above 7 and run the same command again, "
        "or accept search.tolerance 0.0126"
    )


def test_advice_names_the_limit_that_ended_the_search() -> None:
    near = run(0.91254)
    epochs = Limit("search.max_epochs", 1_200_000, "leaves no room for another run")
    assert outcome(near, limit=epochs).advice == (
        "raise search.max_epochs above 1200000 and run the same command again, "
        "or accept search.tolerance 0.0126"
    )
    assert outcome(near, limit=None).advice == "accept search.tolerance 0.0126"


def test_nothing_but_another_target_helps_where_runs_scatter_beyond_what_may_land() -> None:
    goal = a_goal(sparsities(0.98), max_runs=7)
    expected = "its runs scatter farther than landing may go: ask for "
    assert outcome(run(0.9785), goal=goal, limit=None).advice == f"{expected}less"
    assert outcome(run(0.9901), goal=goal, limit=None).advice == f"{expected}more"


@pytest.mark.parametrize(
    ("sparsity", "position", "advice"),
    [
        (0.7, 1.0, "the ranges end at 70.00%: raise the upper end of search.weight_decay"),
        (0.95, 0.0, "the ranges end at 95.00%: lower the lower end of search.weight_decay"),
    ],
)
def test_advice_beyond_the_ranges_names_the_end_to_move(
    sparsity: float, position: float, advice: str
) -> None:
    assert outcome(run(sparsity, position=position)).advice == advice


@unhurried
@given(st.integers(1, 99).map(lambda n: n / 100), st.integers(0, 9999).map(lambda n: n / 1e4))
@example(target=0.0297, sparsity=0.0609)
@example(target=0.22, sparsity=0.0349)
def test_the_advised_tolerance_makes_the_closest_run_a_hit(target: float, sparsity: float) -> None:
    goal = a_goal(sparsities(target), tolerance=1e-9)
    state = outcome(run(sparsity), goal=goal)
    if state.run is None:
        advised = re.search(r"search\.tolerance (\S+)", state.advice)
        if advised is None:  # no tolerance is enough: landing would do harm
            assert sparsity not in a_goal(goal.targets, tolerance=0.49).window(goal.targets[0])
        else:
            wider = a_goal(goal.targets, tolerance=float(advised[1]))
            assert wider.hits(run(sparsity), goal.targets[0])


def test_no_tolerance_is_advised_where_landing_would_prune_too_much() -> None:
    goal = a_goal(sparsities(0.98), max_runs=7)
    expected = "raise search.max_runs above 7 and run the same command again"
    assert outcome(run(0.9785), goal=goal).advice == expected


def test_multiply_adds_are_looked_at_where_they_are_asked_for() -> None:
    target = Target(macs=0.2)
    near = replace(run(0.9, 0.96), macs_pruned=0.803)
    far = replace(run(0.8, 0.99), macs_pruned=0.7)
    goal = a_goal([target], max_runs=7)
    (state,) = outcomes(goal, [near, far])
    assert state.run == near
    assert state.miss == pytest.approx(0.003)
    (missed,) = outcomes(goal, [replace(far, position=1.0)])
    expected = "the ranges end at 70.00%: raise the upper end of search.weight_decay"
    assert missed.advice == expected


def test_the_goal_names_what_is_searched() -> None:
    by_decay = Goal.of(digits(), PROBLEM)
    assert by_decay.searched == "search.weight_decay"
    assert by_decay.targets == sparsities(0.8, 0.9, 0.95, 0.98)
    assert (by_decay.epochs, by_decay.max_runs, by_decay.dense_macs) == (30, 20, 452224)
    by_init = digits("search.weight_decay=1e-3", "search.threshold_init=[-20, -5]")
    assert Goal.of(by_init, PROBLEM).searched == "search.threshold_init"


def test_a_target_above_the_dense_network_is_refused() -> None:
    experiment = digits("search.targets=[{macs: 452224}]")
    with pytest.raises(SettingError, match="has 452,224 multiply-adds: ask for fewer"):
        Goal.of(experiment, PROBLEM)


def test_the_end_that_is_named_is_that_of_the_ranges() -> None:
    goal = a_goal(sparsities(0.95))
    ends = [run(0.4, position=0.0), run(0.9, position=1.0)]
    of_wider_ranges = run(0.96, position=1.4)
    (state,) = outcomes(goal, [*ends, of_wider_ranges])
    assert state.closest == of_wider_ranges
    assert state.advice == ("the ranges end at 90.00%: raise the upper end of search.weight_decay")

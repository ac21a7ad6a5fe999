"""The delivered run is the most accurate in the window; a miss comes with a way out."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from planted_sweeps import (
    OWN_RANGE,
    PROBLEM,
    SHARED_RANGE,
    STEERED,
    begun,
    digits,
    ended,
    shared_start,
    sparsities,
    state_of,
)

from strsweep.search.outcome import TargetOutcome, dense_score, outcomes
from strsweep.search.runs import Run, SearchState, Status
from strsweep.search.space import LawSpace, space_of
from strsweep.settings import RunSettings, Target

NINETY = ("search.targets=[0.9]", "search.tolerance=0.005")
NEAR_RANGE = (*OWN_RANGE[:2], "search.threshold_decay=[9e-3, 2.4e-2]")
MAX_RUNS = "search.max_runs=1"
SETTINGS = RunSettings(threshold_init=-7, weight_decay=5e-4, threshold_decay=0.02, onset=10)


def run(sparsity: float, accuracy: float = 0.5, number: int = 1) -> Run:
    return ended(number, SETTINGS, sparsity, accuracy=accuracy)


def outcome(*runs: Run, overrides: tuple[str, ...] = (), epochs: int = 0) -> TargetOutcome:
    experiment = digits(*NINETY, *overrides)
    space = space_of(experiment, PROBLEM)
    (state,) = outcomes(state_of(experiment, *runs, epochs=epochs), space)
    return state


def test_the_most_accurate_run_in_the_window_is_chosen() -> None:
    nearest, best, too_far = run(0.9, 0.96), run(0.904, 0.97), run(0.906, 0.99)
    state = outcome(nearest, best, too_far, begun(run(0.9, 0.999), 29))
    assert state == TargetOutcome(
        target=Target(sparsity=0.9), run=best, closest=nearest, miss=0.0, advice=""
    )
    wide = outcome(nearest, best, too_far, overrides=("search.tolerance=auto",))
    assert wide.run == too_far


def test_among_equally_accurate_runs_the_nearest_is_chosen() -> None:
    far, near = run(0.904, 0.97), run(0.899, 0.97)
    assert outcome(far, near).run == outcome(near, far).run == near


def test_outcomes_keep_the_order_of_the_targets_and_share_runs() -> None:
    experiment = digits("search.targets=[0.95, 0.8, 0.802]")
    states = outcomes(state_of(experiment, run(0.801)), space_of(experiment, PROBLEM))
    assert [state.target for state in states] == [*sparsities(0.95, 0.8, 0.802)]
    assert [state.run is not None for state in states] == [False, True, True]


@pytest.mark.parametrize(
    ("ends", "closest", "miss"),
    [((0.88, 0.95), 0, -0.02), ((0.93, 0.85), 0, 0.03), ((0.5, 0.92), 1, 0.02)],
)
def test_the_miss_is_signed(ends: tuple[float, ...], closest: int, miss: float) -> None:
    runs = [*map(run, ends)]
    state = outcome(*runs)
    assert (state.run, state.closest) == (None, runs[closest])
    assert state.miss == pytest.approx(miss)


def test_before_a_run_has_finished_nothing_is_known() -> None:
    state = outcome(begun(run(0.9), 29))
    assert (state.run, state.closest, state.miss) == (None, None, None)


AGAIN = "and run the same command again"
SCATTER = "its runs scatter farther than landing may go: ask for "


@pytest.mark.parametrize(
    ("sparsity", "overrides", "epochs", "advice"),
    [
        (None, (MAX_RUNS,), 0, "no run has finished"),
        (
            0.91254,
            (MAX_RUNS,),
            0,
            f"raise search.max_runs above 1 {AGAIN}, or accept search.tolerance 0.0126, or auto",
        ),
        (
            0.91254,
            ("search.max_epochs=1200000",),
            1_200_000,
            f"raise search.max_epochs above 1200000 {AGAIN}, "
            "or accept search.tolerance 0.0126, or auto",
        ),
        (0.91254, (), 0, "accept search.tolerance 0.0126, or auto"),
        # A fork needs 20 epochs: for those there is room.
        (0.91254, ("search.max_epochs=50",), 30, "accept search.tolerance 0.0126, or auto"),
        (0.7, (MAX_RUNS,), 0, f"raise search.max_runs above 1 {AGAIN}"),
        (0.7, (), 0, f"{SCATTER}less"),
        (0.99, (), 0, f"{SCATTER}more"),
        (0.94, ("search.tolerance=auto",), 0, f"{SCATTER}more"),
        (0.8, STEERED, 0, f"{SCATTER}less"),
    ],
)
def test_advice_by_hand(
    sparsity: float | None, overrides: tuple[str, ...], epochs: int, advice: str
) -> None:
    runs = [] if sparsity is None else [run(sparsity)]
    assert outcome(*runs, overrides=overrides, epochs=epochs).advice == advice


@pytest.mark.parametrize(
    ("overrides", "aim", "end", "told"),
    [
        (OWN_RANGE, 0.9999, 0.7, "the ranges end at 70.00%: raise the upper end of"),
        (SHARED_RANGE, 0.9999, 0.7, "the ranges end at 70.00%: raise the upper end of"),
        (NEAR_RANGE, 0.1, 0.95, "the ranges end at 95.00%: lower the lower end of"),
        (SHARED_RANGE, 0.1, 0.95, "the ranges end at 95.00%: lower the lower end of"),
    ],
)
def test_advice_beyond_the_ranges_names_the_end_to_move(
    overrides: tuple[str, ...], aim: float, end: float, told: str
) -> None:
    space = LawSpace(digits(*overrides), PROBLEM)
    at_end = ended(1, space.settings(Target(sparsity=aim), state_of(digits())), end)
    advice = outcome(at_end, overrides=overrides).advice
    assert advice == f"{told} search.{space.limited_by}"
    assert outcome(begun(at_end), overrides=overrides).advice == "no run has finished"


@given(st.integers(1, 99).map(lambda n: n / 100), st.integers(0, 9999).map(lambda n: n / 1e4))
@example(target=0.0297, sparsity=0.0609)
@example(target=0.22, sparsity=0.0349)
def test_the_advised_tolerance_makes_the_closest_run_a_hit(target: float, sparsity: float) -> None:
    def state(tolerance: str) -> SearchState:
        asked = (f"search.targets=[{target}]", f"search.tolerance={tolerance}")
        return state_of(digits(*asked), run(sparsity))

    space, narrow = LawSpace(digits(), PROBLEM), state("1e-9")
    (missed,) = outcomes(narrow, space)
    if missed.run is None:
        advised = re.search(r"search\.tolerance (\S+), or auto", missed.advice)
        assert (advised is not None) == (not state("auto").open_targets)
        assert advised is None or not state(advised[1]).open_targets


def test_multiply_adds_are_looked_at_where_they_are_asked_for() -> None:
    experiment = digits("search.targets=[{macs: 0.2}]", "search.tolerance=0.005")
    space = space_of(experiment, PROBLEM)
    near, far = replace(run(0.9, 0.96), macs_pruned=0.803), replace(run(0.8), macs_pruned=0.7)
    (state,) = outcomes(state_of(experiment, near, far), space)
    assert state.run == near
    assert state.miss == pytest.approx(0.003)
    (missed,) = outcomes(state_of(experiment, far), space)
    assert missed.miss == pytest.approx(-0.1)


def test_the_dense_score_is_that_of_the_whole_network() -> None:
    experiment = digits()
    start, whole = (shared_start(experiment, is_whole=is_whole) for is_whole in (False, True))
    assert dense_score(state_of(experiment, start, run(0.9))) is None
    assert dense_score(state_of(experiment, begun(whole, 29))) is None
    assert dense_score(state_of(experiment, begun(whole, status=Status.FAILED))) is None
    assert dense_score(state_of(experiment, start, whole)) == 0.99

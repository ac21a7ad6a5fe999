"""Whatever the curve, the noise, the slots and the order of the ends: what always holds."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from search_simulation import (
    PATH,
    TARGETS,
    Curve,
    Noisy,
    Simulated,
    a_goal,
    smooth,
)

from strsweep.config import Target
from strsweep.sweep.curve import expit
from strsweep.sweep.outcome import outcomes
from strsweep.sweep.search import decide, out_of_reach
from strsweep.sweep.state import Decision, Finish, Propose, Resume

EVERY = Finish("every target is hit")
few = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Each example is a whole sweep."""
randoms = st.randoms(use_true_random=False)
curves = st.builds(
    lambda low, high, bend, sd, seed: Noisy(smooth(low, high, bend), sd, seed),
    st.floats(-3, 1),
    st.floats(4.2, 7),
    st.floats(-0.6, 0.6),
    st.sampled_from([0.0, 0.02, 0.05]),
    st.integers(0, 1000),
)
"""All targets are within reach, and the noise is a sixth of the narrowest window, or less."""


class Rules:
    """What every single decision has to keep to."""

    def __init__(self) -> None:
        self.positions: list[float] = []

    def __call__(self, sweep: Simulated, decision: Decision) -> None:
        aims = [run.target for run in sweep.running if run.target is not None]
        assert len(set(aims)) == len(aims), "one target is aimed at by one run at a time"
        if isinstance(decision, Propose):
            assert 0 <= decision.position <= 1
            assert decision.position not in self.positions, "the same run twice teaches nothing"
            assert decision.reason
            self.positions.append(decision.position)
            chosen = sweep.path.at(decision.position)
            low, high = sweep.path.weight_decay
            assert low <= chosen.weight_decay <= high
        if isinstance(decision, Propose | Resume):
            assert decision.target in sweep.missed
            assert decision.target not in aims


@few
@given(curves, st.sampled_from([1, 2, 4]), st.sampled_from([3, 5, 10]), randoms)
def test_every_target_is_hit_in_any_order_of_the_ends(
    curve: Curve, slots: int, checkpoint_every: int, random: Random
) -> None:
    sweep = Simulated(
        curve,
        slots=slots,
        checkpoint_every=checkpoint_every,
        pick=random.randrange,
        on_decision=Rules(),
    )
    assert sweep.search() == EVERY
    assert sweep.missed == []
    assert len(sweep.proposed) <= sweep.goal.max_runs


@few
@given(st.floats(-4, 0), st.floats(0.5, 3), st.sampled_from([1, 2, 4]), randoms)
def test_a_target_beyond_the_ranges_is_named_with_what_can_be_reached(
    low: float, rise: float, slots: int, random: Random
) -> None:
    high = min(low + rise, 2.0)  # 88 %: 90 % and more are out of reach
    sweep = Simulated(smooth(low, high), slots=slots, pick=random.randrange, on_decision=Rules())
    reason = sweep.search().reason
    assert reason == "the targets left are out of reach of the ranges"
    # While the run at the end of the path is under way, the other slots crowd beside it.
    assert len(sweep.proposed) <= 8 + 4 * slots
    states = {state.target: state for state in outcomes(sweep.goal, sweep.finished)}
    for target in TARGETS[1:]:
        assert out_of_reach(sweep.goal, target, sweep.finished)
        expected = f"the ranges end at {expit(high):.2%}: raise the upper end of"
        assert states[target].advice == f"{expected} search.weight_decay"


@few
@given(curves, st.integers(1, 3), randoms)
def test_a_decision_depends_on_what_is_known_alone(
    curve: Curve, slots: int, random: Random
) -> None:
    def again(sweep: Simulated, decision: Decision) -> None:
        """Decide from the same values, gathered in another order as a new job might."""
        finished, unfinished = list(sweep.finished), list(sweep.unfinished)
        assert decide(sweep.goal, PATH, finished, unfinished, spent=sweep.spent) == decision
        random.shuffle(finished)
        random.shuffle(unfinished)
        other = decide(sweep.goal, PATH, finished, unfinished, spent=sweep.spent)
        assert type(other) is type(decision)
        if isinstance(decision, Propose) and isinstance(other, Propose):
            assert other.target == decision.target
            assert other.position == pytest.approx(decision.position, abs=0.003)

    sweep = Simulated(
        curve,
        a_goal(max_runs=6),
        slots=slots,
        pick=Random(random.random()).randrange,
        on_decision=again,
    )
    sweep.search()


@few
@given(curves, st.integers(1, 4), st.integers(0, 400), st.integers(1, 12), randoms)
def test_epochs_and_runs_are_never_exceeded(
    curve: Curve, slots: int, max_epochs: int, max_runs: int, random: Random
) -> None:
    goal = a_goal(max_epochs=max(max_epochs, 1), max_runs=max_runs)
    sweep = Simulated(curve, goal, slots=slots, pick=random.randrange, on_decision=Rules())
    reason = sweep.search().reason
    assert sweep.epochs <= max_epochs or not sweep.epochs
    assert len(sweep.proposed) <= max_runs
    if sweep.missed:
        assert f"search.max_epochs ({goal.max_epochs})" in reason or "max_runs" in reason


@few
@given(curves, st.sampled_from([2, 4]), st.integers(0, 1000))
def test_slots_save_time_and_cost_little(curve: Curve, slots: int, seed: int) -> None:
    one, many = (
        Simulated(curve, slots=number, pick=Random(seed).randrange) for number in (1, slots)
    )
    assert one.search() == many.search() == EVERY
    # A run under way tells less than one that has ended: (slots - 1) runs, and the luck of noise.
    assert len(many.proposed) <= len(one.proposed) + (slots - 1) + 8


@few
@given(st.sampled_from([0.03, 0.1, 0.3]), st.integers(1, 3), randoms)
def test_targets_in_multiply_adds_are_hit_beside_sparsities(
    kept: float, slots: int, random: Random
) -> None:
    targets = (Target(sparsity=0.9), Target(macs=kept), Target(macs=20_000.0))
    sweep = Simulated(
        smooth(-1, 5.5), a_goal(targets), slots=slots, pick=random.randrange, on_decision=Rules()
    )
    assert sweep.search() == EVERY
    states = outcomes(sweep.goal, sweep.finished)
    found = [state.run.pruned(state.target.quantity) for state in states if state.run is not None]
    wanted = [0.9, 1 - kept, 1 - 20_000 / sweep.goal.dense_macs]
    assert found == pytest.approx(wanted, abs=sweep.goal.tolerance)
    assert states[1].run is not None
    assert abs(states[1].run.sparsity - wanted[1]) > 0.005, "it is not the sparsity that counts"

"""Whole sweeps of runs that obey a planted law: what holds whatever that law is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from planted_sweeps import (
    OWN_RANGE,
    PROBLEM,
    SHARED_LED,
    SHARED_RANGE,
    planted_sweep,
    sparsities,
)

from strsweep.search.decide import DONE
from strsweep.search.runs import Status
from strsweep.settings import Target

KEPT = ("search.led=false",)
MIXED = ("search.targets=[0.9, {macs: 0.1}, {macs: 0.02}, {macs: 20000}]",)
WAYS = [(), KEPT, SHARED_LED, SHARED_RANGE, OWN_RANGE, (*OWN_RANGE, *KEPT), MIXED]
"""Led and not, with a range and without, one decay for both and for the thresholds alone."""

laws = st.fixed_dictionaries({
    "hardness": st.floats(-3, 3).map(lambda power: 2**power),
    "steepness": st.floats(0.8, 3),
    "late": st.floats(-0.6, 1.5),
    "scatter": st.sampled_from([0.0, 0.02, 0.1, 0.4]),
    "seed": st.integers(0, 1000),
})
"""From networks that are eight times as easy as expected to eight times as hard."""
FORMERLY = {"hardness": 4.07, "steepness": 2.02, "late": 0.75, "scatter": 0.02, "seed": 8}
"""A run for 80 % is stopped; what follows must not be the same run."""


@settings(max_examples=150)
@given(st.sampled_from(WAYS), laws, st.integers(1, 40), st.none() | st.integers(1, 500))
@example(SHARED_LED, FORMERLY, 40, None)
def test_a_sweep_ends_within_its_limits_and_makes_no_run_twice(
    overrides: tuple[str, ...], law: dict[str, Any], max_runs: int, max_epochs: int | None
) -> None:
    limits = [f"search.max_runs={max_runs}"]
    limits += [] if max_epochs is None else [f"search.max_epochs={max_epochs}"]
    sweep = planted_sweep(*overrides, *limits, **law)
    sweep.search()
    runs = sweep.state.runs
    assert len(runs) <= max_runs
    assert sweep.epochs <= (max_epochs or 10**6)
    proposed = [run.settings.model_dump_json() for run in runs]
    assert len(set(proposed)) == len(proposed)
    for outcome in sweep.outcomes():
        assert (outcome.run is None) == (outcome.target in sweep.state.open_targets)
        assert (outcome.run is None) == bool(outcome.advice)
    assert (not sweep.state.open_targets) == sweep.end.startswith(DONE)


usual = st.fixed_dictionaries({
    "hardness": st.floats(-1, 1).map(lambda power: 2**power),
    "steepness": st.floats(1.2, 2.2),
    "late": st.floats(-0.3, 0.4),
    "scatter": st.sampled_from([0.0, 0.05, 0.1]),
    "seed": st.integers(0, 1000),
})
"""Networks up to twice as easy or hard as expected."""


@settings(max_examples=100)
@given(st.sampled_from([(), SHARED_LED, MIXED]), usual)
def test_led_runs_hit_every_target_of_a_network_that_is_not_odd(
    overrides: tuple[str, ...], law: dict[str, Any]
) -> None:
    sweep = planted_sweep(*overrides, **law)
    sweep.search()
    assert sweep.end == DONE
    assert len(sweep.begun) <= 8


@given(
    st.sampled_from([(), KEPT, SHARED_LED, (*KEPT, *SHARED_LED)]),
    st.lists(st.floats(0.3, 0.995), min_size=1, max_size=6, unique=True),
    st.booleans(),
)
@example((), [0.8, 0.9, 0.95, 0.98, 0.99], False)
def test_where_the_law_holds_every_target_takes_one_run(
    overrides: tuple[str, ...], shares: list[float], in_macs: bool
) -> None:
    asked = [{"macs": 1 - share} for share in shares] if in_macs else shares
    is_shared = "search.decay=shared" in overrides
    sweep = planted_sweep(
        *overrides,
        f"search.targets={asked}",
        steepness=1.5 if is_shared else 1.7,
        macs_behind=0.0,
    )
    sweep.search()
    assert sweep.end == DONE
    aims = [run.target for run in sweep.begun]
    assert len(set(aims)) == len(aims) <= len(shares)
    for run in sweep.begun:
        assert run.target is not None
        assert run.sparsity == pytest.approx(run.target.pruned(PROBLEM.dense_macs), abs=1e-4)
    start, own = (0, 30) if is_shared else (10, 20)
    assert sweep.epochs == start + own * len(aims)


@given(st.floats(-1, 2.5).map(lambda power: 2**power), st.floats(-0.2, 0.2))
@example(16.0, 0.0)  # its first run is stopped
def test_no_run_is_stopped_that_would_have_served(hardness: float, late: float) -> None:
    sweep = planted_sweep(hardness=hardness, late=late)
    sweep.search()
    goal, is_open = sweep.state.goal, set(sweep.state.goal.targets)
    for run in sweep.begun:
        end = sweep.trained[run.run_id].last.sparsity
        served = {target for target in is_open if end in goal.window(target)}
        if run.status is Status.STOPPED:
            assert not served
        else:
            is_open -= served
    assert hardness != 16.0 or any(run.status is Status.STOPPED for run in sweep.begun)


def test_another_target_continues_the_sweep_and_uses_its_runs() -> None:
    sweep = planted_sweep("search.targets=[0.9]")
    sweep.search()
    assert [run.target for run in sweep.begun] == [*sparsities(0.9)]
    sweep.ask(sparsities(0.9, 0.905, 0.97))
    sweep.search()
    # 90.5 % is landed from 90 %, which is in its window.
    assert [run.target for run in sweep.begun] == [*sparsities(0.9, 0.97)]
    outcomes = {outcome.target: outcome.run for outcome in sweep.outcomes()}
    assert outcomes[Target(sparsity=0.905)] == outcomes[Target(sparsity=0.9)] == sweep.begun[0]

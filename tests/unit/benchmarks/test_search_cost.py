"""What the search costs on recorded runs: a change that makes it dearer is seen here."""

from __future__ import annotations

from dataclasses import fields

import pytest
from benchmarks.ablation import ELSEWHERE, WITHOUT, cost_of, read_recorded
from benchmarks.onset import patched
from benchmarks.peers import PEERS, Ledger
from benchmarks.problems import TARGETS, TOLERANCE, Case
from benchmarks.recorded import ReplayedRuns
from benchmarks.simulator import SimulatedSweep

from strsweep.search.space import LawSpace
from strsweep.settings import RunSettings
from strsweep.training import law

RUNS, FIRST_MISS = 1.075, 0.1281
"""Printed by make bench-ablation."""
ALLOWED = 1.15


def test_the_search_costs_no_more_than_it_did() -> None:
    cost = cost_of(read_recorded())
    assert cost.runs <= ALLOWED * RUNS
    assert cost.first_miss <= ALLOWED * FIRST_MISS


def test_a_search_by_another_slope_is_seen_to_cost_more() -> None:
    with patched(steepness_own=1.0):
        cost = cost_of(read_recorded())
    assert cost.runs > ALLOWED * RUNS or cost.first_miss > ALLOWED * FIRST_MISS


def test_every_fitted_number_is_looked_at() -> None:
    names = {field.name for field in fields(law.Fitted)}
    assert names == WITHOUT.keys() | ELSEWHERE.keys()
    assert not WITHOUT.keys() & ELSEWHERE.keys()
    assert len(names) <= 20


def settings_at(space: LawSpace, decay: float) -> RunSettings:
    whole = space.dense(is_whole=True)
    return whole.model_copy(update={"is_dense": False, "threshold_decay": decay})


def test_recorded_runs_are_replayed_as_they_were() -> None:
    experiment, problem = Case(name="digits", seed=0).experiment()
    recorded = read_recorded()["digits"]
    space, replay = LawSpace(experiment, problem), ReplayedRuns(experiment, problem, recorded)
    for decay, run in recorded.items():
        trained = replay.train(settings_at(space, decay))
        ends = [epoch.sparsity for epoch in trained.epochs[space.onset :]]
        assert ends == pytest.approx([e.sparsity for e in run.epochs[space.onset :]], abs=2e-6)


@pytest.mark.parametrize(
    ("peer", "targets"),
    [("bisection", TARGETS), ("Optuna GP", (0.80, 0.90)), ("Optuna TPE", (0.90,))],
)
def test_peers_hit_targets_of_a_smooth_curve(peer: str, targets: tuple[float, ...]) -> None:
    experiment, problem = Case(name="digits", seed=0).experiment()
    space = LawSpace(experiment, problem)
    replay = ReplayedRuns(experiment, problem, read_recorded()["digits"])
    decays = sorted(read_recorded()["digits"])
    ledger = Ledger(lambda decay: replay.train(settings_at(space, decay)), targets, TOLERANCE)
    PEERS[peer](ledger, (decays[0], decays[-1]), 0)
    assert all(map(ledger.is_hit, targets))
    assert len(ledger.trained) >= 2 * len(targets)  # of no use to strsweep, which needs one each


def test_a_target_that_is_hit_already_trains_nothing_new() -> None:
    experiment, problem = Case(name="digits", seed=0).experiment()
    replay = ReplayedRuns(experiment, problem, read_recorded()["digits"])
    sweep = SimulatedSweep(experiment, problem, replay)
    sweep.search()
    trained = sweep.epochs
    sweep.ask(experiment.search.targets[1:3])
    sweep.search()
    assert sweep.epochs == trained

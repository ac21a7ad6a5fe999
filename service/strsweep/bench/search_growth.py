"""What one more target costs a sweep that is finished, and one that it hit already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from strsweep.bench.search_cases import Case, trained_runs
from strsweep.bench.search_ours import OneByOne
from strsweep.config import Target
from strsweep.data import load_images
from strsweep.training.problem import measure_problem

ADDED, ASKED_AGAIN = 0.97, 0.95


@dataclass(frozen=True, kw_only=True)
class GrowthRow:
    """Costs are in full runs, sparsities and misses fractions."""

    problem: str
    seed: int
    targets: tuple[float, ...]
    """Of the sweep before."""
    cost_before: float
    added: float
    cost_of_added: float
    miss_of_added: float
    asked_again: float
    cost_of_asked_again: float


def grow(case: Case) -> GrowthRow:
    """Finish a sweep, add a target that it did not have, then ask for one again that it had."""
    experiment, runs = trained_runs(case)
    problem = measure_problem(experiment, load_images(experiment.data))
    sweep = OneByOne(experiment, problem, runs)
    sweep.search()
    before, targets = sweep.epochs, sweep.goal.targets
    cost = _cost_of(sweep, [*targets, Target(sparsity=ADDED)])
    miss = sweep.deliveries()[-1].run.final - ADDED
    return GrowthRow(
        problem=case.problem,
        seed=case.seed,
        targets=tuple(map(sweep.goal.pruned, targets)),
        cost_before=before / sweep.goal.epochs,
        added=ADDED,
        cost_of_added=cost,
        miss_of_added=miss,
        asked_again=ASKED_AGAIN,
        cost_of_asked_again=_cost_of(sweep, [Target(sparsity=ASKED_AGAIN)]),
    )


def _cost_of(sweep: OneByOne, targets: Sequence[Target]) -> float:
    before = sweep.epochs
    sweep.ask(targets)
    sweep.search()
    return (sweep.epochs - before) / sweep.goal.epochs

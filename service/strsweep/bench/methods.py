"""What the methods give at equal sparsity, from short and from long training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from strsweep.bench.search_training import Trainer
from strsweep.bench.searched import Searched, search_each
from strsweep.config import Experiment, RunSettings
from strsweep.sparsity import Budget, SparsityReport
from strsweep.training.run import TrainingRun

_MAGNITUDE = ("gmp", "dnw")
_TOLD: dict[str, dict[str, str]] = {
    "steered": {"mode": "steered"},
    "steered, straight-through": {"mode": "steered", "gradient": "straight_through"},
    "scheduled (ST-3)": {"mode": "scheduled"},
    **{
        f"{mode.upper()}, {rule}": {"mode": mode, "budget": rule}
        for mode in _MAGNITUDE
        for rule in ("uniform", "erk")
    },
}
"""Methods that are told their sparsity, and what they change in the experiment."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one trained network gives."""

    epochs: int
    """Of one training run."""
    target: float
    seed: int
    method: str
    """Mode, and what sets it apart from others of that mode."""
    sparsity: float
    accuracy: float
    macs: int
    dense_macs: int
    epochs_spent: float
    """For this network: more than ``epochs`` where it took a search."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """All networks of one seed that are compared with each other."""

    epochs: int
    seed: int
    targets: tuple[float, ...]
    weight_decay: float
    """Of all but STR, which alone prunes by it."""
    with_learned_budgets: bool = False
    """GMP and DNW also with the budget that STR learned."""


def compare_methods(experiment: Experiment, case: Case) -> list[Outcome]:
    """Train every method to every target of ``case``; STR is left out where it misses one.

    Args:
        experiment: An STR sweep; epochs, seed and targets are those of ``case``.
        case: What to compare.
    """
    torch.set_num_threads(1)
    experiment = changed(experiment, "training", epochs=case.epochs, seed=case.seed)
    found = [
        _outcome(run, case, target, method, case.epochs)
        for target in case.targets
        for method, run in _told(experiment, case, target)
    ]
    for searched in search_each(experiment, case.targets, Trainer().trained):
        found.append(_of_search(searched, case))
        if case.with_learned_budgets:
            found += _obeying_learned(experiment, case, searched)
    return sorted(found, key=lambda outcome: outcome.target)


def changed(experiment: Experiment, section: str, **changes: object) -> Experiment:
    """Return ``experiment`` with some settings of one section changed."""
    new = getattr(experiment, section).model_copy(update=changes)
    return experiment.model_copy(update={section: new})


def train(experiment: Experiment, settings: RunSettings) -> TrainingRun:
    """Train one network to its last epoch, on the CPU."""
    run = TrainingRun(experiment, settings, device=torch.device("cpu"))
    for _ in run.epochs():
        pass
    return run


def _told(experiment: Experiment, case: Case, target: float) -> Iterator[tuple[str, TrainingRun]]:
    """Yield the methods that are told their sparsity, trained."""
    settings = RunSettings(weight_decay=case.weight_decay, sparsity=target)
    for method, choice in _TOLD.items():
        yield method, train(changed(experiment, "sparsity", **choice), settings)


def _of_search(searched: Searched, case: Case) -> Outcome:
    return _reported(
        searched.report,
        searched.accuracy,
        case,
        target=searched.target,
        method="STR",
        epochs_spent=searched.epochs_spent,
    )


def _obeying_learned(experiment: Experiment, case: Case, searched: Searched) -> Iterator[Outcome]:
    """Yield GMP and DNW with the budget that STR learned."""
    budget = Budget.of_report(searched.report).densities
    for mode in _MAGNITUDE:
        run = train(
            changed(experiment, "sparsity", mode=mode, budget=budget),
            RunSettings(weight_decay=case.weight_decay),
        )
        spent = searched.epochs_spent + case.epochs
        yield _outcome(run, case, searched.target, f"{mode.upper()}, STR", spent)


def _outcome(
    run: TrainingRun, case: Case, target: float, method: str, epochs_spent: float
) -> Outcome:
    return _reported(
        run.report(),
        run.history[-1].accuracy,
        case,
        target=target,
        method=method,
        epochs_spent=epochs_spent,
    )


def _reported(
    report: SparsityReport,
    accuracy: float,
    case: Case,
    *,
    target: float,
    method: str,
    epochs_spent: float,
) -> Outcome:
    assert report.macs is not None
    assert report.dense_macs is not None
    return Outcome(
        epochs=case.epochs,
        target=target,
        seed=case.seed,
        method=method,
        sparsity=report.sparsity,
        accuracy=accuracy,
        macs=report.macs,
        dense_macs=report.dense_macs,
        epochs_spent=epochs_spent,
    )

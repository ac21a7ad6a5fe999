"""What the modes give at equal sparsity: STR, steered, GMP and DNW under three kinds of budget."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from strsweep.config import Experiment, RunSettings
from strsweep.errors import EveryRunFailedError
from strsweep.sparsity import Budget
from strsweep.sweep.outcome import outcomes
from strsweep.sweep.path import path_of
from strsweep.sweep.search import Finish, FinishedRun, Goal, Propose, decide
from strsweep.training.run import TrainingRun

_OBEYING = [(method, rule) for method in ("gmp", "dnw") for rule in ("uniform", "erk", "STR")]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one trained network gives."""

    target: float
    seed: int
    method: str
    budget: str
    """``learned``, ``uniform``, ``erk``, or ``STR``: the one that STR learned with this seed."""
    sparsity: float
    accuracy: float
    macs: int
    dense_macs: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Mean and standard deviation over the seeds."""

    target: float
    method: str
    budget: str
    seeds: int
    sparsity: float
    accuracy: float
    accuracy_spread: float
    macs_share: float
    """Of the dense network."""
    macs_share_spread: float


def compare_methods(experiment: Experiment, seed: int, *, weight_decay: float) -> list[Outcome]:
    """Train every mode to every target of ``experiment`` with one seed.

    STR runs as a sweep would run it, one after the other. The others then get the sparsity that STR
    reached, so that all are compared at the same number of weights.

    Args:
        experiment: An STR sweep.
        seed: Of initialization and order of the images.
        weight_decay: Of all but STR, which alone prunes by it.

    Raises:
        EveryRunFailedError: A target is not reached.
    """
    torch.set_num_threads(1)
    seeded = _with(experiment, "training", seed=seed)
    found: list[Outcome] = []
    for target, run in _sweep(seeded):
        reached = _outcome(run, target, seed, "str", "learned")
        found.append(reached)
        steered = _with(seeded, "sparsity", mode="steered")
        told = RunSettings(weight_decay=weight_decay, sparsity=reached.sparsity)
        found.append(_outcome(_train(steered, told), target, seed, "steered", "learned"))
        learned = Budget.of_report(run.report()).densities
        for method, rule in _OBEYING:
            budget = learned if rule == "STR" else rule
            settings = RunSettings(
                weight_decay=weight_decay, sparsity=None if rule == "STR" else reached.sparsity
            )
            obeying = _with(seeded, "sparsity", mode=method, budget=budget)
            found.append(_outcome(_train(obeying, settings), target, seed, method, rule))
    return found


def _sweep(experiment: Experiment) -> Iterator[tuple[float, TrainingRun]]:
    """Yield every target with the run that a sweep would deliver for it."""
    path, wanted = path_of(experiment), Goal.of(experiment)
    runs: dict[str, TrainingRun] = {}
    finished: list[FinishedRun] = []
    while isinstance(decision := decide(wanted, finished, [], spent=len(runs), slots=1), Propose):
        run = _train(experiment, path.at(decision.position))
        run_id = f"run-{len(runs) + 1:03d}"
        runs[run_id] = run
        last = run.history[-1]
        finished.append(
            FinishedRun(
                run_id=run_id,
                position=decision.position,
                sparsity=last.sparsity,
                accuracy=last.accuracy,
            )
        )
    assert isinstance(decision, Finish)
    yield from _delivered(wanted, finished, runs)


def _delivered(
    wanted: Goal, finished: Sequence[FinishedRun], runs: dict[str, TrainingRun]
) -> Iterator[tuple[float, TrainingRun]]:
    for state in outcomes(wanted, finished):
        if state.run is None:
            raise EveryRunFailedError(f"STR does not reach {state.target}: {state.advice}")
        yield state.target, runs[state.run.run_id]


def _train(experiment: Experiment, settings: RunSettings) -> TrainingRun:
    run = TrainingRun(experiment, settings, device=torch.device("cpu"))
    for _ in run.epochs():
        pass
    return run


def _outcome(run: TrainingRun, target: float, seed: int, method: str, budget: str) -> Outcome:
    report = run.report()
    assert report.macs is not None
    assert report.dense_macs is not None
    return Outcome(
        target=target,
        seed=seed,
        method=method,
        budget=budget,
        sparsity=report.sparsity,
        accuracy=run.history[-1].accuracy,
        macs=report.macs,
        dense_macs=report.dense_macs,
    )


def _with(experiment: Experiment, section: str, **changes: object) -> Experiment:
    changed = getattr(experiment, section).model_copy(update=changes)
    return experiment.model_copy(update={section: changed})


def summarize(found: Sequence[Outcome]) -> list[Summary]:
    """Return mean and spread over the seeds, in the order of ``found``."""
    groups: dict[tuple[float, str, str], list[Outcome]] = {}
    for outcome in found:
        groups.setdefault((outcome.target, outcome.method, outcome.budget), []).append(outcome)
    return [
        _summary(target, method, budget, group)
        for (target, method, budget), group in sorted(groups.items(), key=lambda item: item[0][0])
    ]


def _summary(target: float, method: str, budget: str, group: Sequence[Outcome]) -> Summary:
    accuracies = [outcome.accuracy for outcome in group]
    shares = [outcome.macs / outcome.dense_macs for outcome in group]
    return Summary(
        target=target,
        method=method,
        budget=budget,
        seeds=len(group),
        sparsity=statistics.mean(outcome.sparsity for outcome in group),
        accuracy=statistics.mean(accuracies),
        accuracy_spread=statistics.stdev(accuracies),
        macs_share=statistics.mean(shares),
        macs_share_spread=statistics.stdev(shares),
    )

"""Training that nobody tuned anything for: does ``auto`` start near enough, and hit the targets?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from strsweep.bench.search_ours import OneByOne
from strsweep.bench.search_problems import TARGETS, TOLERANCE
from strsweep.bench.search_runs import RecordedRun, TrainedRuns
from strsweep.bench.search_training import Trainer
from strsweep.config import Experiment, Target, load_experiment
from strsweep.data import load_images
from strsweep.sweep.auto import first_guess, resolve
from strsweep.sweep.curve import logit
from strsweep.training.problem import measure_problem

SETUPS = {
    "width 10": "model.options={width: 10}",
    "45 epochs": "training.epochs=45",
    "batch 48": "training.batch_size=48",
    "learning rate 0.04": "training.learning_rate=0.04",
}
"""What each changes in the file of digits. The law of the decay clock was fitted without them."""


@dataclass(frozen=True, kw_only=True)
class SetupCase:
    """One setup with one seed."""

    setup: str
    seed: int
    config: Path
    """The file of digits."""
    memo: Path
    """Where trained runs are remembered."""

    def experiment(self) -> Experiment:
        """Return the sweep, with every setting that can be left to ``auto`` left to it."""
        asked = (
            f"training.seed={self.seed}",
            f"search.targets={list(TARGETS)}",
            f"search.tolerance={TOLERANCE}",
            "search.threshold_init=auto",
            "search.weight_decay=auto",
            "search.max_runs=60",
        )
        return load_experiment(self.config, [SETUPS[self.setup], *asked])


@dataclass(frozen=True, kw_only=True)
class SetupRow:
    """How a sweep with ``auto`` went. Sparsities and misses are fractions."""

    setup: str
    seed: int
    threshold_init: float
    """As ``auto`` chose it; so are the next two."""
    weight_decays: tuple[float, float]
    """The range."""
    first_guess: float
    """Weight decay of the first run."""
    aimed_at: float
    """What the first run aimed at."""
    reached: float
    """What it ended with."""
    right: float
    """Weight decay that gives ``aimed_at``, by all runs of the sweep."""
    factors: tuple[float, ...]
    """By target: the larger of what the law expects before any run and what turned out right, over
    the smaller."""
    cost_per_target: float
    """In full runs."""
    targets_hit: int
    targets: int
    worst_miss_before_landing: float
    worst_miss_after: float | None

    @property
    def factor(self) -> float:
        """By how much the weight decay of the first run was off."""
        return apart(self.first_guess, self.right)


def sweep_setup(case: SetupCase) -> SetupRow:
    """Sweep one setup, with nothing but ``auto`` to start from."""
    torch.set_num_threads(1)
    asked = case.experiment()
    problem = measure_problem(asked, load_images(asked.data))
    experiment = resolve(asked, problem)
    sweep = OneByOne(experiment, problem, TrainedRuns(experiment, case.memo, Trainer()))
    sweep.search()
    guesses = {t: first_guess(experiment, problem, t).weight_decay for t in sweep.goal.targets}
    return _row(case, experiment, sweep, guesses)


def _row(
    case: SetupCase, experiment: Experiment, sweep: OneByOne, guesses: dict[Target, float]
) -> SetupRow:
    first, runs = sweep.begun[0], [run for _, run in sweep.begun]
    threshold_init, weight_decays = experiment.search.threshold_init, experiment.search.weight_decay
    assert isinstance(threshold_init, float | int)
    assert isinstance(weight_decays, tuple)
    assert first[0] is not None
    aimed_at, found = sweep.goal.pruned(first[0]), sweep.deliveries()
    landed = [delivery.landed for delivery in found if delivery.landed is not None]
    return SetupRow(
        setup=case.setup,
        seed=case.seed,
        threshold_init=threshold_init,
        weight_decays=weight_decays,
        first_guess=first[1].weight_decay,
        aimed_at=aimed_at,
        reached=first[1].final,
        right=right_weight_decay(runs, aimed_at),
        factors=tuple(
            apart(guess, right_weight_decay(runs, sweep.goal.pruned(target)))
            for target, guess in guesses.items()
        ),
        cost_per_target=sweep.epochs / sweep.goal.epochs / len(found),
        targets_hit=sum(delivery.is_hit for delivery in found),
        targets=len(found),
        worst_miss_before_landing=max(abs(d.run.final - d.target) for d in found),
        worst_miss_after=(
            max(abs(end.sparsity - end.target) for end in landed)
            if len(landed) == len(found)
            else None
        ),
    )


def right_weight_decay(runs: Iterable[RecordedRun], sparsity: float) -> float:
    """Return the weight decay that gives ``sparsity``, by the runs that end on both sides of it.

    Between two runs the logit of sparsity is taken as straight in log(weight decay); beyond all of
    them the nearest is the best that is known.
    """
    ordered = sorted(runs, key=lambda run: run.final)
    levels = [logit(run.final) for run in ordered]
    decays = [math.log(run.weight_decay) for run in ordered]
    return math.exp(float(np.interp(logit(sparsity), levels, decays)))


def apart(one: float, other: float) -> float:
    """Return the factor between two positive numbers, at least 1."""
    return max(one / other, other / one)


def setup_cases(seeds: int, *, config: Path, memo: Path) -> Sequence[SetupCase]:
    """Return every setup with the first seed, then with the next."""
    return [
        SetupCase(setup=setup, seed=seed, config=config, memo=memo)
        for seed in range(seeds)
        for setup in SETUPS
    ]

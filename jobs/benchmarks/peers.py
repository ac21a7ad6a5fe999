"""How a sparsity is found without strsweep: by halving, or by optimizers of the distance to it.

Each peer gets every benefit of the doubt: a run counts for all targets, whatever it was for; every
study is told all runs of the earlier ones; a repeated setting is free; nobody pays for the ends of
the range.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks.recorded import Trained
from strsweep.config import Range

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study

_STEP = math.log(1.01)
"""Decays nearer than 1 % are taken as one, so that peers share what was trained."""
_MOST_HALVINGS, _MOST_TRIALS = 16, 24


class Ledger:
    """Trains runs of one decay each, and keeps the account of a method that knows only those.

    Args:
        train: Returns the run of a decay.
        targets: Sparsities.
        tolerance: Largest distance that counts as hit.
    """

    def __init__(
        self, train: Callable[[float], Trained], targets: tuple[float, ...], tolerance: float
    ) -> None:
        self.targets = targets
        self.trained: dict[float, Trained] = {}
        """By decay, in the order of training."""
        self._train, self._tolerance = train, tolerance

    def sparsity(self, decay: float) -> float:
        """Train one run and return its final sparsity; the same again costs nothing."""
        decay = float(f"{decay:.6g}")
        if decay not in self.trained:
            self.trained[decay] = self._train(decay)
        return self.trained[decay].last.sparsity

    def nearest(self, target: float) -> Trained:
        """Return the run that ends nearest to ``target``."""
        return min(self.trained.values(), key=lambda run: abs(run.last.sparsity - target))

    def is_hit(self, target: float) -> bool:
        """Return whether some run ends near enough to ``target``."""
        if not self.trained:
            return False
        return abs(self.nearest(target).last.sparsity - target) <= self._tolerance


Peer = Callable[[Ledger, Range, int], None]
"""Trains what it likes from a range, with a seed of its own."""


def bisection(ledger: Ledger, limits: Range, _seed: int) -> None:
    """Halve the bracket of each target in log(decay); earlier runs narrow it."""
    for target in ledger.targets:
        for _ in range(_MOST_HALVINGS):
            low, high = _bracket(ledger, limits, target)
            if ledger.is_hit(target) or high / low < 1 + 1e-4:
                break
            ledger.sparsity(math.sqrt(low * high))


def tpe(ledger: Ledger, limits: Range, seed: int) -> None:
    """Let Optuna's tree-structured Parzen estimator minimise the distance to each target."""
    from optuna.samplers import TPESampler  # a tool of development: see pyproject.toml

    _studies(ledger, limits, lambda index: TPESampler(seed=10 * seed + index))


def gp(ledger: Ledger, limits: Range, seed: int) -> None:
    """Let Optuna's Gaussian process minimise the distance to each target."""
    from optuna.samplers import GPSampler

    _studies(ledger, limits, lambda index: GPSampler(seed=10 * seed + index))


PEERS: dict[str, Peer] = {"bisection": bisection, "Optuna GP": gp, "Optuna TPE": tpe}


def _bracket(ledger: Ledger, limits: Range, target: float) -> Range:
    """Return the decays around ``target``; noise can put a sparse run below a dense one."""
    ends = {decay: run.last.sparsity for decay, run in ledger.trained.items()}
    high = min((decay for decay, end in ends.items() if end > target), default=limits[1])
    below = [decay for decay, end in ends.items() if end <= target and decay < high]
    return max(below, default=limits[0]), high


def _studies(ledger: Ledger, limits: Range, sampler: Callable[[int], BaseSampler]) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for index, target in enumerate(ledger.targets):
        study = optuna.create_study(sampler=sampler(index))
        _tell_all(study, ledger, limits, target)
        for _ in range(_MOST_TRIALS):
            if ledger.is_hit(target):
                break
            trial = study.ask()
            decay = trial.suggest_float("decay", *limits, log=True)
            rounded = limits[0] * math.exp(round(math.log(decay / limits[0]) / _STEP) * _STEP)
            study.tell(trial, abs(ledger.sparsity(rounded) - target))


def _tell_all(study: Study, ledger: Ledger, limits: Range, target: float) -> None:
    from optuna.distributions import BaseDistribution, FloatDistribution
    from optuna.trial import create_trial

    allowed: dict[str, BaseDistribution] = {"decay": FloatDistribution(*limits, log=True)}
    for decay, run in ledger.trained.items():
        inside = {"decay": min(max(decay, limits[0]), limits[1])}
        miss = abs(run.last.sparsity - target)
        study.add_trial(create_trial(params=inside, distributions=allowed, value=miss))

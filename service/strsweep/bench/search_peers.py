"""How a sparsity is found without strsweep: by halving, by optimizers, at random, on a grid.

Each peer gets every benefit of the doubt: a run counts for all targets, whatever it was for; every
study is told all runs of the earlier ones; a repeated setting is free; nobody pays for the ends of
the range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from strsweep.bench.search_cost import Ledger
from strsweep.bench.search_problems import TARGETS
from strsweep.config import Range

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study

Peer = Callable[[Ledger, Range, int], None]
"""Trains what it likes from a range, with a seed of its own."""

_STEP = math.log(1.01)
"""Weight decays nearer than 1 % are taken as one, so that peers share what was trained."""
_MOST_HALVINGS = 16
_MOST_TRIALS = 24
"""Of one study."""
_MOST_DRAWS = 40
"""In all: 8 per target."""
_GRID = 16


def bisection(ledger: Ledger, limits: Range, _seed: int) -> None:
    """Halve the bracket of each target in log(weight decay); earlier runs narrow it."""
    for target in TARGETS:
        for _ in range(_MOST_HALVINGS):
            low, high = _bracket(ledger, limits, target)
            middle = math.sqrt(low * high)
            if ledger.is_hit(target) or high / low < 1 + 1e-4:
                break
            ledger.train(middle)


def tpe(ledger: Ledger, limits: Range, seed: int) -> None:
    """Let Optuna's tree-structured Parzen estimator minimise the distance to each target."""
    from optuna.samplers import TPESampler  # a tool of development: see pyproject.toml

    _studies(ledger, limits, lambda index: TPESampler(seed=seed * len(TARGETS) + index))


def gp(ledger: Ledger, limits: Range, seed: int) -> None:
    """Let Optuna's Gaussian process minimise the distance to each target."""
    from optuna.samplers import GPSampler

    _studies(ledger, limits, lambda index: GPSampler(seed=seed * len(TARGETS) + index))


def random(ledger: Ledger, limits: Range, seed: int) -> None:
    """Draw weight decays, uniform in their logarithm and none twice."""
    places = list(_places(limits))
    for index in np.random.default_rng(seed).permutation(len(places))[:_MOST_DRAWS]:
        if not ledger.open_targets:
            break
        ledger.train(places[index])


def grid(ledger: Ledger, limits: Range, _seed: int) -> None:
    """Train an even grid in log(weight decay), whatever it hits."""
    for weight_decay in np.geomspace(*limits, _GRID):
        ledger.train(_rounded(float(weight_decay), limits))


PEERS: dict[str, Peer] = {
    "bisection": bisection,
    "gp": gp,
    "tpe": tpe,
    "random": random,
    "grid": grid,
}


def _bracket(ledger: Ledger, limits: Range, target: float) -> Range:
    """Return the weight decays around ``target``; noise can put a sparse run below a dense one."""
    runs = ledger.trained.values()
    high = min((run.weight_decay for run in runs if run.final > target), default=limits[1])
    below = [run.weight_decay for run in runs if run.final <= target and run.weight_decay < high]
    return max(below, default=limits[0]), high


def _studies(ledger: Ledger, limits: Range, sampler: Callable[[int], BaseSampler]) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for index, target in enumerate(TARGETS):
        study = optuna.create_study(sampler=sampler(index))
        _tell_all(study, ledger, limits, target)
        for _ in range(_MOST_TRIALS):
            if ledger.is_hit(target):
                break
            _try(study, ledger, limits, target)


def _tell_all(study: Study, ledger: Ledger, limits: Range, target: float) -> None:
    from optuna.distributions import BaseDistribution, FloatDistribution
    from optuna.trial import create_trial

    allowed: dict[str, BaseDistribution] = {"weight_decay": FloatDistribution(*limits, log=True)}
    for weight_decay, run in ledger.trained.items():
        inside = {"weight_decay": min(max(weight_decay, limits[0]), limits[1])}
        miss = abs(run.final - target)
        study.add_trial(create_trial(params=inside, distributions=allowed, value=miss))


def _try(study: Study, ledger: Ledger, limits: Range, target: float) -> None:
    trial = study.ask()
    wanted = trial.suggest_float("weight_decay", *limits, log=True)
    study.tell(trial, abs(ledger.train(_rounded(wanted, limits)) - target))


def _places(limits: Range) -> Iterator[float]:
    """Yield the weight decays that peers tell apart."""
    for index in range(int(math.log(limits[1] / limits[0]) / _STEP) + 1):
        yield limits[0] * math.exp(index * _STEP)


def _rounded(weight_decay: float, limits: Range) -> float:
    return limits[0] * math.exp(round(math.log(weight_decay / limits[0]) / _STEP) * _STEP)

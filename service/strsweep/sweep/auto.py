"""Settings that need no guessing: what ``auto`` stands for, and what cannot work."""

from __future__ import annotations

import math
from dataclasses import dataclass

from strsweep.config import Experiment, Problem, Range, Target
from strsweep.errors import SettingError
from strsweep.sweep.clock import DecayClock, drive_for
from strsweep.sweep.curve import expit, logit
from strsweep.sweep.path import SearchPath

_LATEST = 6.3
"""Largest delay, in units of drive, that ``auto`` gives the thresholds: that of -3200 for the
paper's networks."""
_LOW, _HIGH = -0.5, 25.0
"""Ends of the range, in hardnesses of drive: about 5 and 99.9 % where the law holds exactly."""
_NOTHING_PRUNED = 2e-3
"""Share of weights below the thresholds that decay alone leads to, about: less is nothing."""


@dataclass(frozen=True, kw_only=True)
class FirstGuess:
    """Settings expected to give a target, before anything was trained."""

    target: Target
    threshold_init: float
    weight_decay: float


def resolve(experiment: Experiment, problem: Problem) -> Experiment:
    """Return ``experiment`` with numbers for every setting that is ``auto``.

    Pruning begins where half of the decay that a 90 % run needs has passed, as in the paper's own
    runs. The range of weight decays does not depend on the targets, so that another target
    continues the same sweep.

    Raises:
        SettingError: Nothing would be pruned with the settings that are given, or everything.
    """
    if experiment.sparsity.mode != "str":
        return experiment
    clock = DecayClock.of(experiment, problem)
    search = experiment.search
    chosen: dict[str, float | Range] = {}
    first = search.threshold_init
    if first == "auto":
        first = chosen["threshold_init"] = _threshold_init(clock)
    if search.weight_decay == "auto":
        assert isinstance(first, float | int)
        chosen["weight_decay"] = _weight_decays(clock, first)
    resolved = search.model_copy(update={**chosen, "resolved": tuple(chosen)})
    settled = experiment.model_copy(update={"search": resolved}) if chosen else experiment
    if experiment.model.checkpoint is None:
        _check_prunes(settled, problem, clock)
    return settled


def first_guess(experiment: Experiment, problem: Problem, target: Target) -> FirstGuess:
    """Return the settings, within the ranges, that the law of the decay clock expects for a target.

    Args:
        experiment: An STR experiment without ``auto``.
        problem: Its network and data.
        target: Multiply-adds are taken for weights here: the law knows only those.
    """
    path = SearchPath.of(experiment, problem)
    drive = drive_for(logit(target.pruned(problem.dense_macs)), path.clock.hardness)
    settings = path.at(path.place_of(drive))
    assert settings.threshold_init is not None
    return FirstGuess(
        target=target,
        threshold_init=settings.threshold_init,
        weight_decay=float(f"{settings.weight_decay:.3g}"),
    )


def _threshold_init(clock: DecayClock) -> float:
    # For every threshold init there is a weight decay; only a very late or early start is harmful.
    delay = min(clock.hardness, _LATEST)
    return -float(f"{clock.bite * math.exp(delay):.2g}")


def _weight_decays(clock: DecayClock, threshold_init: float) -> Range:
    low, high = (
        clock.weight_decay_for(share * clock.hardness, threshold_init) for share in (_LOW, _HIGH)
    )
    if high <= 0:
        remedy = f"Its thresholds prune from the start: write auto, or below {-clock.bite:.2g}."
        raise SettingError("search.threshold_init", threshold_init, remedy)
    return float(f"{max(low, high / 200):.2g}"), float(f"{high:.2g}")


def _check_prunes(experiment: Experiment, problem: Problem, clock: DecayClock) -> None:
    search = experiment.search
    first, decay = _sparsest(search.threshold_init), _sparsest(search.weight_decay)
    level = -clock.bite * math.exp(-clock.drive(first, decay))
    threshold = experiment.sparsity.scale * (
        math.exp(level) if experiment.sparsity.function == "exp" else expit(level)
    )
    # Half of the weights are below the median; evenly spread, so many are below the threshold.
    if 0.5 * threshold / problem.weight_scale >= _NOTHING_PRUNED:
        return
    needed = clock.weight_decay_for(clock.hardness, first)
    shown = list(search.weight_decay) if isinstance(search.weight_decay, tuple) else decay
    remedy = (
        f"Nothing would be pruned: with this schedule thresholds that start at {first:g} stay too "
        f"far below zero. About {needed:.2g} is expected to prune 90 %: raise it, take a "
        "threshold_init nearer to zero, or write auto."
    )
    error = SettingError("search.weight_decay", shown, remedy)
    if not experiment.is_single:
        raise error
    print(f"note: {error}", flush=True)  # one run with settings that somebody chose is theirs


def _sparsest(value: object) -> float:
    end = value[1] if isinstance(value, tuple) else value
    assert isinstance(end, float | int)
    return float(end)

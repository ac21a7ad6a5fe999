"""Settings that need no guessing: what ``auto`` stands for, and what cannot work."""

from __future__ import annotations

import math

from strsweep.config import Experiment, Problem, Range
from strsweep.errors import SettingError
from strsweep.search.space import LawSpace, as_range, onset_of
from strsweep.settings import RunSettings
from strsweep.training.law import logit

_LOW, _HIGH = 0.2, 0.9995
"""Sparsities that a range chosen by ``auto`` reaches if the law holds."""
_NOTHING_PRUNED = 2e-3
"""Share of weights below the thresholds that decay alone leads to, about: less is nothing."""


def resolve(experiment: Experiment, problem: Problem) -> Experiment:
    """Return ``experiment`` with numbers for every setting that is ``auto`` and not found per run.

    Raises:
        SettingError: Nothing would be pruned with the settings that are given, or everything.
    """
    if not experiment.sparsity.needs_search:
        return experiment
    space, search = LawSpace(experiment, problem), experiment.search
    chosen: dict[str, float | Range] = {}
    if search.threshold_init == "auto":
        chosen["threshold_init"] = space.threshold_init[0]
    if search.knob_value == "auto" and not search.led:
        chosen[search.knob] = _auto_range(space)
    resolved = search.model_copy(update={**chosen, "resolved": tuple(chosen)})
    settled = experiment.model_copy(update={"search": resolved}) if chosen else experiment
    if experiment.model.checkpoint is None and search.knob_value != "auto":
        _check_prunes(settled, LawSpace(settled, problem), problem)
    return settled


def fixed_settings(experiment: Experiment, problem: Problem) -> RunSettings:
    """Return the settings of a single run, which searches nothing."""
    search, is_searched = experiment.search, experiment.sparsity.needs_search
    first, weights = search.threshold_init, search.weight_decay
    assert isinstance(weights, float | int)
    decay = search.threshold_decay if is_searched and search.decay == "own" else None
    assert decay != "auto"
    assert not isinstance(decay, tuple)
    return RunSettings(
        threshold_init=first if is_searched and isinstance(first, float | int) else None,
        weight_decay=weights,
        threshold_decay=decay,
        onset=onset_of(experiment, problem),
    )


def _auto_range(space: LawSpace) -> Range:
    first = space.threshold_init[0]
    low, high = (
        space.clock.decay_for(
            space.expected * space.law.relative_exposure(logit(share)), space.delay(first)
        )
        for share in (_LOW, _HIGH)
    )
    if high <= 0:
        remedy = f"Thresholds prune from the start: write auto, or below {-space.pruning_level:.2g}"
        raise SettingError("search.threshold_init", first, f"{remedy}.")
    return float(f"{max(low, high / 100) / 2:.2g}"), float(f"{2 * high:.2g}")


def _check_prunes(experiment: Experiment, space: LawSpace, problem: Problem) -> None:
    """Refuse settings whose thresholds stay too far below zero to prune anything."""
    first, decay = space.threshold_init[1], as_range(experiment.search.knob_value)[1]
    level = -space.pruning_level * math.exp(-(decay * space.clock.total - space.delay(first)))
    threshold = experiment.sparsity.threshold_of(level)
    # Half of the weights are below the median; evenly spread, so many are below the threshold.
    if 0.5 * threshold / problem.weight_scale >= _NOTHING_PRUNED:
        return
    needed = space.clock.decay_for(space.expected, space.delay(first))
    remedy = (
        f"Nothing would be pruned: with this schedule thresholds that start at {first:g} stay too "
        f"far below zero. About {needed:.2g} is expected to prune 90 %: raise it, take a "
        "threshold_init nearer to zero, or write auto."
    )
    search = experiment.search
    error = SettingError(f"search.{search.knob}", search.knob_value, remedy)
    if not experiment.is_single:
        raise error
    print(f"note: {error}", flush=True)  # one run with settings that somebody chose is theirs

"""Train one run of a comparison to its last epoch, and land it on every target it ends near."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from strsweep.bench.search_problems import TARGETS, TOLERANCES
from strsweep.bench.search_runs import Landed, RecordedRun, key_of
from strsweep.config import Experiment, RunSettings, Target
from strsweep.training.landing import land_run
from strsweep.training.run import EpochMetrics, TrainingRun

_CPU = torch.device("cpu")
_LANDED_FROM = max(TOLERANCES)
"""The same run may serve all of them."""


def train_and_land(experiment: Experiment, settings: RunSettings) -> RecordedRun:
    """Return the whole run.

    Args:
        experiment: An STR sweep; a run that is told its sparsity is steered instead.
        settings: Of the run.
    """
    if settings.sparsity is not None:
        steered = experiment.sparsity.model_copy(update={"mode": "steered"})
        experiment = experiment.model_copy(update={"sparsity": steered})
    run = TrainingRun(experiment, settings, device=_CPU)
    whole = recorded(settings, list(run.epochs()))
    if settings.sparsity is not None:
        return whole
    return replace(whole, landed=_landed(experiment, settings, run))


def recorded(settings: RunSettings, epochs: Sequence[EpochMetrics]) -> RecordedRun:
    """Return a run that was trained to its end, as a value."""
    return RecordedRun(
        weight_decay=settings.weight_decay,
        told=settings.sparsity,
        corrections=key_of(settings)[-1],
        sparsity=tuple(epoch.sparsity for epoch in epochs),
        macs=tuple(epoch.macs for epoch in epochs),
        accuracy=tuple(epoch.accuracy for epoch in epochs),
    )


def _landed(experiment: Experiment, settings: RunSettings, run: TrainingRun) -> tuple[Landed, ...]:
    state, final = run.state(), run.history[-1].sparsity
    near = [t for t in TARGETS if abs(final - t) <= _LANDED_FROM]
    ends = [land_run(experiment, settings, state, Target(sparsity=t), _CPU).after for t in near]
    return tuple(
        Landed(target=target, sparsity=end.sparsity, accuracy=end.accuracy)
        for target, end in zip(near, ends, strict=True)
    )

"""Train one run of a comparison to its last epoch, and land it on every target it ends near."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch

from strsweep.bench.search_problems import TARGETS, TOLERANCES
from strsweep.bench.search_runs import Key, Landed, RecordedRun, key_of
from strsweep.config import Experiment, RunSettings, Target
from strsweep.training.checkpoint import State, copied
from strsweep.training.landing import land_run
from strsweep.training.run import EpochMetrics, TrainingRun

_CPU = torch.device("cpu")
_LANDED_FROM = max(TOLERANCES)
"""The same run may serve all of them."""
_REMEMBERED = 32
"""A stopped run may be resumed much later."""


class Trainer:
    """Trains runs to their end and lands them; it remembers where the last ones could go on.

    A run that is corrected goes on from where its course changes, which is bit for bit what it is
    from the start, and takes a fraction of the time.
    """

    def __init__(self) -> None:
        self._states: dict[Key, dict[int, State]] = {}
        """After every epoch with a checkpoint, of the last runs."""

    def __call__(self, experiment: Experiment, settings: RunSettings) -> RecordedRun:
        """Return the whole run.

        Args:
            experiment: An STR sweep; a run that is told its sparsity is steered instead.
            settings: Of the run.
        """
        if settings.sparsity is not None:
            steered = experiment.sparsity.model_copy(update={"mode": "steered"})
            experiment = experiment.model_copy(update={"sparsity": steered})
        run = self.trained(experiment, settings)
        whole = recorded(settings, run.history)
        if settings.sparsity is not None:
            return whole
        return replace(whole, landed=_landed(experiment, settings, run))

    def trained(self, experiment: Experiment, settings: RunSettings) -> TrainingRun:
        """Return the run after its last epoch; all runs that are asked for are of one experiment.

        Args:
            experiment: Mode and all else, as they are.
            settings: Of the run.
        """
        run = TrainingRun(experiment, settings, device=_CPU)
        states = self._before(settings)
        if states:
            run.load_state(copy.deepcopy(states[max(states)]))
        for metrics in run.epochs():
            if metrics.epoch % experiment.training.checkpoint_every == 0:
                states[metrics.epoch] = copied(run.state())
        self._states[key_of(settings)] = states
        for key in list(self._states)[:-_REMEMBERED]:
            del self._states[key]
        return run

    def _before(self, settings: RunSettings) -> dict[int, State]:
        """Return what is known of the course before its last correction."""
        if not settings.corrections:
            return {}
        *earlier, last = settings.corrections
        before = settings.model_copy(update={"corrections": tuple(earlier)})
        known = self._states.get(key_of(before), {})
        return {epoch: state for epoch, state in known.items() if epoch <= last.after_epoch}


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

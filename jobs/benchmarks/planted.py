"""Runs that obey a law that was planted, epoch by epoch, and take no time."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.recorded import Epoch, Trained
from strsweep.config import Experiment, Problem
from strsweep.search.space import LawSpace
from strsweep.settings import RunSettings
from strsweep.training.law import FITTED, Law, ThresholdClock, expit, logit
from strsweep.training.leader import leader_of


@dataclass(frozen=True, kw_only=True)
class PlantedRuns:
    """Runs that obey one law, whether they lead themselves or keep one decay."""

    experiment: Experiment
    problem: Problem
    hardness: float = 1.0
    """``exposure_at_90``, in terms of what is expected."""
    steepness: float = FITTED.steepness_own
    late: float = 0.0
    """Exposure by which thresholds prune later than computed, in terms of what is expected."""
    scatter: float = 0.0
    """Standard deviation of the ends of runs, in logit."""
    jitter: float = 0.0
    """The same of every epoch."""
    seed: int = 0
    macs_behind: float = 0.5
    """Logit by which the pruned multiply-adds are behind the weights."""

    @cached_property
    def _space(self) -> LawSpace:
        return LawSpace(self.experiment, self.problem)

    def train(self, settings: RunSettings) -> Trained:
        """Return the whole run with ``settings``, the first epochs of a fork included."""
        epochs = settings.last_epoch or self.experiment.training.epochs
        if settings.is_dense:
            return Trained(epochs=(self.row(0.0, 0.0),) * epochs)
        assert settings.threshold_init is not None
        clock = ThresholdClock.of(self.experiment, self.problem.steps_per_epoch, settings.onset)
        delay = self._space.delay(settings.threshold_init) + self.late * self._space.expected
        key = f"{self.seed} {settings.model_dump_json(exclude={'fork'})}"
        chance = np.random.default_rng(zlib.crc32(key.encode()))
        noise, law = chance.normal(0, self.scatter), Law(steepness=self.steepness)
        unknown, decays, rows = self.hardness * self._space.expected, list[float](), list[Epoch]()
        for epoch in range(epochs):
            decays.append(self._decay(settings, clock, decays, rows))
            level = law.level(clock.exposure(decays, delay), unknown)
            pruned = expit(level + noise + chance.normal(0, self.jitter))
            rows.append(self.row(pruned if epoch >= settings.onset else 0.0, decays[-1]))
        return Trained(epochs=tuple(rows))

    def row(self, sparsity: float, decay: float) -> Epoch:
        """Return an epoch that ends with ``sparsity``."""
        pruned = expit(logit(sparsity) - self.macs_behind) if sparsity else 0.0
        return Epoch(
            sparsity=sparsity,
            macs=round((1 - pruned) * self.problem.dense_macs),
            accuracy=0.99 - 0.1 * sparsity**30,
            threshold_decay=decay,
        )

    def _decay(
        self,
        settings: RunSettings,
        clock: ThresholdClock,
        decays: Sequence[float],
        rows: Sequence[Epoch],
    ) -> float:
        """Return what the workers of a real run set in the next epoch."""
        lead = settings.lead
        if len(rows) < settings.onset:
            return 0.0
        if lead is None or not rows:
            return settings.first_decay
        leader = leader_of(self._space.law, lead, clock, settings.first_decay)
        left = rows[-1].macs / self.problem.dense_macs
        pruned = rows[-1].sparsity if lead.quantity == "sparsity" else 1 - left
        return leader.next_decay(decays, pruned)

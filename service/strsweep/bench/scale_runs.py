"""Runs that take no time: what a worker writes into the journal, from the law and some noise."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from pydantic import BaseModel, ConfigDict

from strsweep.config import Experiment, Problem, RunSettings
from strsweep.journal import EpochFinished, Journal, LayerRow, RunFinished
from strsweep.storage import storage_of
from strsweep.sweep.clock import DecayClock, level_at
from strsweep.sweep.curve import expit, logit

_HARDER = 1.3
"""Networks differ from the law by a factor: the search has to find it."""
_CLIMB = 4.0
"""How far below its end, as a level, a run begins."""


class SimulatedRuns(BaseModel):
    """How the runs of a sweep go: a value that Ray can ship as JSON.

    The final sparsity follows the law of the decay clock and scatters by ``noise``, as a level.
    """

    model_config = ConfigDict(frozen=True)

    experiment: Experiment
    problem: Problem
    layers: tuple[LayerRow, ...]
    """Of the dense network."""
    noise: float

    def final(self, run_id: str, settings: RunSettings) -> float:
        """Return the sparsity that a run ends with, the same whenever it is asked for."""
        clock = DecayClock.of(self.experiment, self.problem)
        drive = clock.drive_after(settings, len(clock.epochs))
        level = float(level_at(np.asarray(drive), _HARDER * clock.hardness))
        scatter = np.random.default_rng(zlib.crc32(run_id.encode())).normal(0.0, self.noise)
        return expit(logit(expit(level)) + scatter)

    def epochs(
        self, run_id: str, settings: RunSettings, done: int = 0
    ) -> Iterator[EpochFinished | RunFinished]:
        """Yield what the first worker of a run writes after the ``done`` epochs it wrote before."""
        final, last = logit(self.final(run_id, settings)), self.experiment.training.epochs
        metrics: dict[str, float] = {}
        for epoch in range(done + 1, last + 1):
            left = 1 - epoch / last
            metrics = self._metrics(epoch, expit(final - _CLIMB * left**2))
            metrics["weight_decay"] = settings.weight_decay_in(epoch)
            yield EpochFinished(run_id=run_id, metrics=metrics)
        checkpoint = f"runs/{run_id}/epoch_{last:05d}"
        yield RunFinished(
            run_id=run_id,
            metrics=metrics,
            layers=tuple(_pruned(layer, metrics["sparsity"]) for layer in self.layers),
            checkpoint=checkpoint,
        )

    def train(
        self, run_id: str, settings: RunSettings, report: Callable[[dict[str, float]], None]
    ) -> None:
        """Write what a worker would write, and ``report`` the epochs that have a checkpoint."""
        storage, name = storage_of(self.experiment), f"journal/{run_id}.jsonl"
        journal, training = Journal(storage, writer=run_id), self.experiment.training
        lines = storage.read(name).splitlines() if name in storage.sizes("journal") else []
        done = sum(settings.has_epoch(json.loads(line)["metrics"]) for line in lines)
        for event in self.epochs(run_id, settings, done):
            journal.append(event)
            if isinstance(event, RunFinished):
                return
            epoch = int(event.metrics["epoch"])
            if epoch % training.checkpoint_every == 0 or epoch == training.epochs:
                report(event.metrics)

    def _metrics(self, epoch: int, sparsity: float) -> dict[str, float]:
        kept = 1 - sparsity
        return {
            "epoch": epoch,
            "train_loss": 0.5 + kept / epoch,
            "val_loss": 0.6 + kept / epoch,
            "accuracy": 0.99 - 0.1 * sparsity**20,
            "sparsity": sparsity,
            "macs": round(kept * self.problem.dense_macs),
            "learning_rate": self.experiment.training.learning_rate,
            "seconds": 0.0,
            "unreadable_images": 0,
        }


def _pruned(layer: LayerRow, sparsity: float) -> LayerRow:
    zeros = round(sparsity * layer.weights)
    share = zeros / layer.weights
    return layer.model_copy(
        update={
            "zeros": zeros,
            "sparsity": share,
            "macs": round((1 - share) * layer.dense_macs),
            "threshold": 0.01 * share,
        }
    )

"""A sweep on a folder: its journal is written as the workers of a cluster would write it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.planted import PlantedRuns
from benchmarks.recorded import Epoch
from planted_sweeps import PROBLEM, digits
from samples import finished, started

from strsweep.cluster.searcher import TargetSearcher
from strsweep.config import Experiment
from strsweep.journal import EpochFinished, Journal, PrefixTrained, RunRecord, SweepRecord, replay
from strsweep.storage import storage_of


class JournaledSweep:
    """One sweep; ``job`` starts a searcher as a new job does, ``train`` is its cluster."""

    def __init__(self, folder: Path, *overrides: str, **law: float) -> None:
        self.folder, self.overrides, self.slots = folder, overrides, 100
        self._law: dict[str, Any] = law
        self.journal = Journal(storage_of(self.experiment()))

    def experiment(self, *overrides: str) -> Experiment:
        return digits(f"storage.path={self.folder}", *self.overrides, *overrides)

    @property
    def record(self) -> SweepRecord:
        return replay(self.journal.read())

    def start(self, *overrides: str) -> Experiment:
        """Note that somebody started the sweep."""
        experiment = self.experiment(*overrides)
        self.journal.append(started(experiment=experiment.model_dump(mode="json")))
        return experiment

    def job(self, *overrides: str) -> TargetSearcher:
        return TargetSearcher(self.start(*overrides), self.journal, lambda: self.slots)

    def train(self, run_id: str, last: int = 30) -> None:
        """Write the epochs that are left until ``last``."""
        run = self.record.runs[run_id]
        rows, settings = self._rows(run), run.settings
        begun = 0 if settings.fork is None else settings.fork.epoch
        for epoch in range(max(run.epochs, default=begun) + 1, min(last, len(rows)) + 1):
            metrics = self.metrics(rows[epoch - 1], epoch)
            self.journal.append(EpochFinished(run_id=run_id, metrics=metrics))
            if epoch == settings.shared_epoch:
                folder = f"runs/{run_id}/epoch_{epoch:05d}"
                self.journal.append(PrefixTrained(run_id=run_id, epoch=epoch, checkpoint=folder))

    def end(self, run_id: str) -> None:
        """Write all that a run does until its end."""
        self.train(run_id)
        epochs = self.record.runs[run_id].epochs
        folder, metrics = f"runs/{run_id}/epoch_{max(epochs):05d}", epochs[max(epochs)].metrics
        self.journal.append(finished(run_id, metrics=metrics, checkpoint=folder))

    def finish(self, searcher: TargetSearcher, trial_id: str) -> str:
        """Start a trial and let its run train to its end; returns the id of the run."""
        run_id = suggested(searcher, trial_id)["run_id"]
        self.end(run_id)
        searcher.on_trial_complete(trial_id)
        return run_id

    def metrics(self, row: Epoch, epoch: int) -> dict[str, float]:
        return {
            "epoch": epoch,
            "sparsity": row.sparsity,
            "macs": row.macs,
            "dense_macs": PROBLEM.dense_macs,
            "accuracy": row.accuracy,
            "weight_decay": 5e-4,
            "threshold_decay": row.threshold_decay,
            "learning_rate": 0.1,
            "seconds": 0.25,
        }

    def _rows(self, run: RunRecord) -> tuple[Epoch, ...]:
        experiment = self.experiment()
        if experiment.sparsity.mode == "str":
            runs = PlantedRuns(experiment=experiment, problem=PROBLEM, **self._law)
            return runs.train(run.settings).epochs
        share = run.settings.pruned_share - self._law.get("off", 0.0)
        return (PlantedRuns(experiment=digits(), problem=PROBLEM).row(share, 0.0),) * 30


@dataclass
class Trial:
    """What Tune hands to a scheduler and to its callbacks."""

    config: dict[str, Any]


def suggested(searcher: TargetSearcher, trial_id: str) -> dict[str, Any]:
    """Return the config of the trial that the searcher begins."""
    config = searcher.suggest(trial_id)
    assert isinstance(config, dict), config
    return config


def trials() -> Iterator[str]:
    """Return new names of trials."""
    return (f"trial-{number}" for number in range(1000))

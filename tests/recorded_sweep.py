"""Sweeps as their jobs leave them: a journal and checkpoints of tiny networks, trained here."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from samples import METRICS, finished, load, proposed, started
from samples import epoch as epoch_of

from strsweep.config import Experiment, Problem
from strsweep.journal import EpochFinished, Journal, LayerRow, RunStopped, SweepRecord, replay
from strsweep.settings import RunSettings, Target
from strsweep.storage import storage_of
from strsweep.tasks import task_of
from strsweep.training.checkpoints import State, save_checkpoint
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun
from strsweep.training.writer import layer_rows

SETTINGS = RunSettings(threshold_init=-4, weight_decay=5e-4, threshold_decay=1e-2)
"""Ends at 55 %, near enough to be landed on 50 %."""
EPOCHS = 2
_KEYS = (*METRICS[1:], "seconds")


def experiment_of(storage: Path | str, uri: str, name: str, *overrides: str) -> Experiment:
    """Return an experiment whose every run hits its only target, 50 %."""
    recipe = (f"training.epochs={EPOCHS}", "search.threshold_init=-4", "search.targets=[0.5]")
    places = (f"name={name}", f"storage.path={storage}", f"tracking.uri={uri}")
    return load(*recipe, *places, *overrides)


@dataclass(frozen=True)
class Trained:
    """What training for a moment gave."""

    epochs: list[dict[str, float]]
    thresholds: list[tuple[float | None, ...]]
    """Of every epoch."""
    state: State
    layers: tuple[LayerRow, ...]


@functools.cache
def trained(seed: int) -> Trained:
    """Train a digits network for a moment."""
    experiment = load(f"training.epochs={EPOCHS}", f"training.seed={seed}")
    run = TrainingRun(experiment, SETTINGS, device=torch.device("cpu"))
    rows = [(epoch.row, run.thresholds) for epoch in run.epochs()]
    return Trained(
        epochs=[metrics for metrics, _ in rows],
        thresholds=[thresholds for _, thresholds in rows],
        state=run.state(),
        layers=layer_rows(run.report()),
    )


class RecordedSweep:
    """Writes what a job and its workers write.

    Args:
        experiment: Without ``auto``.
        problem: Its network and data; by default they are measured.
    """

    def __init__(self, experiment: Experiment, problem: Problem | None = None) -> None:
        self.experiment = experiment
        self.problem = problem or measure_problem(experiment, task_of(experiment))
        self.storage = storage_of(experiment)
        self.journal = Journal(self.storage)

    @property
    def record(self) -> SweepRecord:
        return replay(self.journal.read())

    def start(self) -> None:
        """Write what a job writes first."""
        content = self.experiment.model_dump(mode="json")
        self.journal.append(started(experiment=content, problem=self.problem))

    def run(self, run_id: str, seed: int = 0, accuracy: float | None = None) -> None:
        """A run that was trained to its end; it can be told to have had another accuracy."""
        run, told = trained(seed), {} if accuracy is None else {"accuracy": accuracy}
        epochs = [{**metrics, **told} for metrics in run.epochs]
        folder = f"runs/{run_id}/epoch_{EPOCHS:05d}"
        save_checkpoint(self.storage, folder, run.state)
        self._propose(run_id)
        for metrics, thresholds in zip(epochs, run.thresholds, strict=True):
            event = EpochFinished(run_id=run_id, metrics=metrics, thresholds=thresholds)
            self.journal.append(event)
        end = finished(run_id, metrics=epochs[-1], layers=run.layers, checkpoint=folder)
        self.journal.append(end)

    def fake_run(self, number: int, epochs: int) -> None:
        """A run that is told of but was not trained: every fifth one was stopped early."""
        run_id = f"run-{number:03d}"
        self._propose(run_id)
        for epoch in range(1, epochs + 1):
            values = dict.fromkeys(_KEYS, (number % 7 + epoch) / 100)
            self.journal.append(epoch_of(epoch, run_id, **values))
        if number % 5 == 0:
            self.journal.append(RunStopped(run_id=run_id, epoch=epochs, reason="it misses"))
        else:
            metrics = {**dict.fromkeys(_KEYS, 0.005), "epoch": float(epochs)}
            self.journal.append(finished(run_id, metrics=metrics, layers=trained(0).layers))

    def _propose(self, run_id: str) -> None:
        self.journal.append(proposed(run_id, Target(sparsity=0.5), settings=SETTINGS))

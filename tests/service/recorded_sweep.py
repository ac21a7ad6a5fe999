"""Sweeps as their jobs leave them: a journal and checkpoints of tiny networks, trained here."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch

from strsweep.config import Experiment, RunSettings, Target, load_experiment
from strsweep.data import load_images
from strsweep.journal import (
    EpochFinished,
    Journal,
    RunFinished,
    RunProposed,
    RunStopped,
    SweepRecord,
    SweepStarted,
    replay,
)
from strsweep.storage import storage_of
from strsweep.training.checkpoint import State, save_checkpoint
from strsweep.training.layer_rows import layer_rows
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun

DIGITS = Path(__file__).parents[2] / "jobs/configs/digits.yaml"
SETTINGS = RunSettings(threshold_init=-5, weight_decay=3e-2)
EPOCHS = 2
_KEYS = ("sparsity", "accuracy", "train_loss", "val_loss", "learning_rate", "macs", "seconds")


def experiment_of(storage: Path | str, uri: str, name: str, *overrides: str) -> Experiment:
    """Return an experiment whose every run hits its only target, 50 %."""
    settings = [
        f"name={name}",
        f"training.epochs={EPOCHS}",
        "search.threshold_init=-5",
        "search.weight_decay=[1e-2, 4e-2]",
        "search.targets=[0.5]",
        "search.tolerance=0.49",
        f"storage.path={storage}",
        f"tracking.uri={uri}",
    ]
    return load_experiment(DIGITS, [*settings, *overrides])


@functools.cache
def trained(seed: int) -> tuple[list[dict[str, float]], State, tuple[Any, ...]]:
    """Train a digits network for a moment; returns its epochs, its state and its layers."""
    overrides = [f"training.epochs={EPOCHS}", f"training.seed={seed}"]
    experiment = load_experiment(DIGITS, overrides)
    run = TrainingRun(experiment, SETTINGS, device=torch.device("cpu"))
    epochs = [dict(vars(epoch)) for epoch in run.epochs()]
    return epochs, run.state(), layer_rows(run.report())


class RecordedSweep:
    """Writes what a job and its workers write."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.storage = storage_of(experiment)
        self.journal = Journal(self.storage)

    @property
    def record(self) -> SweepRecord:
        return replay(self.journal.read())

    def start(self) -> None:
        problem = measure_problem(self.experiment, load_images(self.experiment.data))
        content = self.experiment.model_dump(mode="json")
        self.journal.append(SweepStarted(experiment=content, version="0.1.0", problem=problem))

    def run(self, run_id: str, seed: int = 0, accuracy: float | None = None) -> None:
        """A run that was trained to its end; it can be told to have had another accuracy."""
        epochs, state, layers = trained(seed)
        if accuracy is not None:
            epochs = [{**metrics, "accuracy": accuracy} for metrics in epochs]
        folder = f"runs/{run_id}/epoch_{EPOCHS:05d}"
        save_checkpoint(self.storage, folder, state)
        self._propose(run_id)
        for metrics in epochs:
            self.journal.append(EpochFinished(run_id=run_id, metrics=metrics))
        self.journal.append(
            RunFinished(run_id=run_id, metrics=epochs[-1], layers=layers, checkpoint=folder)
        )

    def fake_run(self, number: int, epochs: int) -> None:
        """A run that is told of but was not trained: every fifth one was stopped early."""
        run_id = f"run-{number:03d}"
        self._propose(run_id)
        for epoch in range(1, epochs + 1):
            values = dict.fromkeys(_KEYS, (number % 7 + epoch) / 100)
            self.journal.append(
                EpochFinished(run_id=run_id, metrics={"epoch": float(epoch), **values})
            )
        if number % 5 == 0:
            self.journal.append(RunStopped(run_id=run_id, epoch=epochs, reason="it misses"))
        else:
            layers = trained(0)[2]
            metrics = {"epoch": float(epochs), **dict.fromkeys(_KEYS, 0.005)}
            self.journal.append(
                RunFinished(run_id=run_id, metrics=metrics, layers=layers, checkpoint="none")
            )

    def _propose(self, run_id: str) -> None:
        self.journal.append(
            RunProposed(
                run_id=run_id, settings=SETTINGS, target=Target(sparsity=0.5), reason="a test"
            )
        )

"""A sweep of digits without Ray: its runs are trained here, its journal is what workers write."""

from __future__ import annotations

from pathlib import Path

import torch

from strsweep.config import RunSettings, Target, load_experiment
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
from strsweep.registry import Delivery, Tracking, publish_sweep
from strsweep.storage import storage_of
from strsweep.sweep.landing import land_one
from strsweep.training.checkpoint import save_checkpoint
from strsweep.training.layer_rows import layer_rows
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun

DIGITS = Path(__file__).parents[2] / "jobs/configs/digits.yaml"
EPOCHS = 8
TRIED = [
    (0.015, 0.78, (0.701, 0.843), EPOCHS),
    (0.04, 0.94, (0.88, 0.979), 4),
    (0.025, 0.94, (0.925, 0.956), EPOCHS),
]
"""Weight decay, aim, forecast, and the epoch where it ends: the second run is stopped early."""


class DigitsSweep:
    """Three targets: two are hit and landed, one is out of reach."""

    def __init__(self, folder: Path, tracking_uri: str) -> None:
        self.experiment = load_experiment(
            DIGITS,
            [
                f"training.epochs={EPOCHS}",
                "search.targets=[0.78, 0.94, 0.995]",
                "search.tolerance=0.03",
                "search.threshold_init=-6",
                "search.weight_decay=[1e-2, 5e-2]",
                f"storage.path={folder}",
                f"tracking.uri={tracking_uri}",
            ],
        )
        self.storage = storage_of(self.experiment)
        self.journal = Journal(self.storage)
        self.delivery: Delivery | None = None

    @property
    def record(self) -> SweepRecord:
        return replay(self.journal.read())

    def train(self) -> DigitsSweep:
        """Train the runs, and land those that hit."""
        torch.set_num_threads(1)
        problem = measure_problem(self.experiment, load_images(self.experiment.data))
        content = self.experiment.model_dump(mode="json")
        self.journal.append(SweepStarted(experiment=content, version="0", problem=problem))
        for number, (decay, aim, forecast, last) in enumerate(TRIED, start=1):
            self._run(f"run-{number:03d}", decay, Target(sparsity=aim), forecast, last)
        for run in self.record.finished_runs:
            assert run.target is not None
            self.journal.append(land_one(self.experiment, run, run.target))
        return self

    def deliver(self) -> DigitsSweep:
        """Hand everything to MLflow."""
        with Tracking(self.experiment) as tracking:
            pass
        self.delivery = publish_sweep(self.experiment, self.record, tracking)
        return self

    def _run(
        self, run_id: str, decay: float, target: Target, forecast: tuple[float, float], last: int
    ) -> None:
        settings = RunSettings(threshold_init=-6, weight_decay=decay)
        self.journal.append(
            RunProposed(
                run_id=run_id,
                settings=settings,
                target=target,
                reason="sparsity {:.1%} to {:.1%} expected".format(*forecast),
                forecast=forecast,
            )
        )
        run = TrainingRun(self.experiment, settings, device=torch.device("cpu"))
        for epoch in run.epochs():
            metrics, thresholds = dict(vars(epoch)), run.thresholds
            self.journal.append(
                EpochFinished(run_id=run_id, metrics=metrics, thresholds=thresholds)
            )
            if epoch.epoch == last < EPOCHS:
                stopped = "would end between 97.12% and 98.31%, where no target is left"
                self.journal.append(RunStopped(run_id=run_id, epoch=last, reason=stopped))
                return
        folder = f"runs/{run_id}/epoch_{last:05d}"
        save_checkpoint(self.storage, folder, run.state())
        self.journal.append(
            RunFinished(
                run_id=run_id,
                metrics=dict(vars(run.history[-1])),
                layers=layer_rows(run.report()),
                checkpoint=folder,
            )
        )

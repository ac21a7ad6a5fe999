"""A sweep without Ray: the search is real, and runs are trained here, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from samples import DIGITS, searched

from strsweep.auto import resolve
from strsweep.cluster.searcher import TargetSearcher
from strsweep.config import Experiment, Problem, load_experiment
from strsweep.journal import (
    EpochFinished,
    Journal,
    PrefixTrained,
    RunFinished,
    RunProposed,
    SweepRecord,
    SweepStarted,
    replay,
)
from strsweep.registry.delivery import Delivered
from strsweep.registry.publish import publish_journal
from strsweep.settings import RunSettings, Target
from strsweep.storage import storage_of
from strsweep.tasks import task_of
from strsweep.training.checkpoints import load_checkpoint, save_checkpoint
from strsweep.training.landing import land_one
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun
from strsweep.training.writer import layer_rows


class TrainedSweep:
    """Writes the journal and the checkpoints that a job with one slot leaves.

    Args:
        loaded: The experiment, ``auto`` included.
    """

    def __init__(self, loaded: Experiment) -> None:
        self.problem: Problem = measure_problem(loaded, task_of(loaded))
        self.experiment = resolve(loaded, self.problem)
        self.storage = storage_of(self.experiment)
        self.journal = Journal(self.storage)

    @property
    def record(self) -> SweepRecord:
        return replay(self.journal.read())

    def start(self) -> None:
        """Write what a job writes first."""
        torch.set_num_threads(1)
        content = self.experiment.model_dump(mode="json")
        self.journal.append(SweepStarted(experiment=content, version="0", problem=self.problem))

    def search(self) -> None:
        """Train until the search is over."""
        self.start()
        searcher = TargetSearcher(self.experiment, self.journal, lambda: 1)
        for run_id, settings in searched(searcher):
            self.train(run_id, settings, partial(searcher.stops, run_id))

    def propose(self, settings: RunSettings, target: Target | None, reason: str) -> str:
        """Write a proposal of one's own; returns the id of the run."""
        run_id = self.record.next_run_id
        self.journal.append(
            RunProposed(run_id=run_id, settings=settings, target=target, reason=reason)
        )
        return run_id

    def train(self, run_id: str, settings: RunSettings, stops: Callable[[int], bool]) -> None:
        """Train one run; after every checkpoint it is asked whether that was its last epoch."""
        run = TrainingRun(self.experiment, settings, device=torch.device("cpu"))
        if settings.fork is not None:
            run.load_state(load_checkpoint(self.storage, settings.fork.folder))
        for epoch in run.epochs():
            metrics, number = epoch.row, epoch.epoch
            self.journal.append(
                EpochFinished(run_id=run_id, metrics=metrics, thresholds=run.thresholds)
            )
            is_shared = number == settings.shared_epoch
            is_due = number % self.experiment.training.checkpoint_every == 0
            if is_shared or is_due or number == run.num_epochs:
                save_checkpoint(self.storage, _folder(run_id, number), run.state())
            if is_shared:
                folder = _folder(run_id, number)
                self.journal.append(PrefixTrained(run_id=run_id, epoch=number, checkpoint=folder))
            if (is_shared or is_due) and stops(number):
                return
        self.journal.append(
            RunFinished(
                run_id=run_id,
                metrics=run.history[-1].row,
                layers=layer_rows(run.report()),
                checkpoint=_folder(run_id, run.num_epochs),
            )
        )

    def land(self) -> None:
        """Land every finished run on the target that it aimed at."""
        for run in self.record.finished_runs:
            if run.target is not None:
                self.journal.append(land_one(self.experiment, self.storage, run, run.target))


def delivered(
    folder: Path, target: float, settings: RunSettings, *overrides: str
) -> tuple[Delivered, str]:
    """Train one run of digits, land it on ``target`` and publish; returns also MLflow's address."""
    uri = f"sqlite:///{folder}/mlflow.db"
    recipe = ("training.epochs=2", "search.decay=shared", "search.weight_decay=[1e-2, 4e-2]")
    search = ("search.led=false", f"search.threshold_init={settings.threshold_init}")
    places = (f"storage.path={folder}", f"tracking.uri={uri}", "search.tolerance=0.49")
    asked = (*recipe, *search, *places, f"search.targets=[{target}]")
    sweep = TrainedSweep(load_experiment(DIGITS, [*asked, *overrides]))
    sweep.start()
    run_id = sweep.propose(settings, sweep.experiment.search.targets[0], "a test")
    sweep.train(run_id, settings, lambda _: False)
    sweep.land()
    (model,) = publish_journal(sweep.experiment).models
    return model, uri


def _folder(run_id: str, epoch: int) -> str:
    return f"runs/{run_id}/epoch_{epoch:05d}"

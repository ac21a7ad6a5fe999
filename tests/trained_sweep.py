"""A sweep without Ray: the search is real, and runs are trained here, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from recorded_sweep import RecordedSweep
from samples import finished, load, proposed, searched

from strsweep.auto import resolve
from strsweep.cluster.searcher import TargetSearcher
from strsweep.config import Experiment
from strsweep.journal import EpochFinished, PrefixTrained
from strsweep.registry.delivery import Delivered
from strsweep.registry.publish import publish_journal
from strsweep.settings import RunSettings, Target
from strsweep.tasks import task_of
from strsweep.training.checkpoints import load_checkpoint, save_checkpoint
from strsweep.training.landing import land_one
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun
from strsweep.training.writer import layer_rows


class TrainedSweep(RecordedSweep):
    """Writes the journal and the checkpoints that a job with one slot leaves.

    Args:
        loaded: The experiment, ``auto`` included.
    """

    def __init__(self, loaded: Experiment) -> None:
        torch.set_num_threads(1)
        problem = measure_problem(loaded, task_of(loaded))
        super().__init__(resolve(loaded, problem), problem)

    def search(self) -> None:
        """Train until the search is over."""
        self.start()
        searcher = TargetSearcher(self.experiment, self.journal, lambda: 1)
        for run_id, settings in searched(searcher):
            self.train(run_id, settings, partial(searcher.stops, run_id))

    def propose(self, settings: RunSettings, target: Target | None, reason: str) -> str:
        """Write a proposal of one's own; returns the id of the run."""
        run_id = self.record.next_run_id
        self.journal.append(proposed(run_id, target, settings=settings, reason=reason))
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
        known = {"metrics": run.history[-1].row, "layers": layer_rows(run.report())}
        end = finished(run_id, **known, checkpoint=_folder(run_id, run.num_epochs))
        self.journal.append(end)

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
    sweep = TrainedSweep(load(*asked, *overrides))
    sweep.start()
    run_id = sweep.propose(settings, sweep.experiment.search.targets[0], "a test")
    sweep.train(run_id, settings, lambda _: False)
    sweep.land()
    (model,) = publish_journal(sweep.experiment).models
    return model, uri


def _folder(run_id: str, epoch: int) -> str:
    return f"runs/{run_id}/epoch_{epoch:05d}"

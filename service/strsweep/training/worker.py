"""The Ray Train worker: runs a training run, reports to Ray, writes the journal."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, TypedDict

import ray.train
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer, get_device
from ray.train.v2.api.callback import UserCallback

from strsweep.config import Experiment, RunSettings
from strsweep.errors import ImagesUnreadableError, StrsweepError
from strsweep.journal import (
    EpochFinished,
    ImagesUnreadable,
    Journal,
    RunFailed,
    RunFinished,
)
from strsweep.storage import SweepStorage
from strsweep.training.checkpoint import load_checkpoint, save_checkpoint
from strsweep.training.layer_rows import layer_rows
from strsweep.training.run import EpochMetrics, TrainingRun

_MAX_WORKER_FAILURES = 3
_MAX_CONTROLLER_FAILURES = 10
"""Ray's default is to try for ever, which turns a missing worker into a hang."""
_CHECKPOINTS_KEPT = 2


class WorkerTask(TypedDict):
    """What a worker is told, as plain values that Ray can ship."""

    folder: str
    """Of the sweep: computed once, so that all processes of a sweep write into the same one."""
    experiment: dict[str, Any]
    run_id: str
    settings: dict[str, float]


def task(experiment: Experiment, run_id: str, settings: RunSettings) -> WorkerTask:
    """Return the task of one run."""
    return WorkerTask(
        folder=str(SweepStorage.of(experiment).root),
        experiment=experiment.model_dump(mode="json"),
        run_id=run_id,
        settings=settings.model_dump(),
    )


def trainer(
    experiment: Experiment,
    run_id: str,
    settings: RunSettings,
    callbacks: list[UserCallback] | None = None,
) -> TorchTrainer:
    """Return the Ray trainer of one run; its ``fit()`` continues where an earlier one ended.

    The name of the Train run is the run id inside the sweep's folder: Ray finds the checkpoints of
    an interrupted run by it.
    """
    workers = experiment.workers
    storage = SweepStorage.of(experiment)
    return TorchTrainer(
        train_worker,
        train_loop_config=dict(task(experiment, run_id, settings)),
        scaling_config=ScalingConfig(
            num_workers=workers.count,
            use_gpu=workers.gpus > 0,
            resources_per_worker=worker_resources(experiment),
        ),
        run_config=RunConfig(
            name=run_id,
            storage_path=str(storage.path("runs")),
            failure_config=FailureConfig(
                max_failures=_MAX_WORKER_FAILURES,
                controller_failure_limit=_MAX_CONTROLLER_FAILURES,
            ),
            checkpoint_config=CheckpointConfig(num_to_keep=_CHECKPOINTS_KEPT),
            callbacks=list(callbacks or []),
        ),
    )


def worker_resources(experiment: Experiment) -> dict[str, float]:
    """Return the Ray resources of one worker."""
    resources = {"CPU": experiment.workers.cpus}
    if experiment.workers.gpus:
        resources["GPU"] = experiment.workers.gpus
    return resources


def train_worker(config: dict[str, Any]) -> None:
    """Train on one Ray Train worker; all workers of the run call this.

    Errors that the same run would meet again, such as a loss of NaN, are written to the journal
    instead of raised: Ray would answer them with futile retries.
    """
    experiment = Experiment.model_validate(config["experiment"])
    run_id: str = config["run_id"]
    context = ray.train.get_context()
    journal = Journal(SweepStorage(Path(config["folder"])), writer=run_id)
    rank, world_size = context.get_world_rank() or 0, context.get_world_size() or 1
    try:
        run = TrainingRun(
            experiment,
            RunSettings.model_validate(config["settings"]),
            device=get_device(),
            rank=rank,
            world_size=world_size,
        )
        _train(run, experiment, run_id, journal if rank == 0 else None)
    except ImagesUnreadableError:
        raise  # the storage may come back: Ray tries again from the last checkpoint
    except StrsweepError as error:
        if rank == 0:
            journal.append(RunFailed(run_id=run_id, reason=f"{type(error).__name__}: {error}"))


def _train(run: TrainingRun, experiment: Experiment, run_id: str, journal: Journal | None) -> None:
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            run.load_state(load_checkpoint(Path(folder)))
    named: set[str] = set()
    num_epochs, every = experiment.training.epochs, experiment.training.checkpoint_every
    for metrics in run.epochs():
        if journal is not None:
            # Before the checkpoint: a crash in between repeats an epoch instead of losing its row.
            journal.append(EpochFinished(run_id=run_id, metrics=_row(metrics)))
            if new := tuple(name for name in run.unreadable if name not in named):
                journal.append(ImagesUnreadable(run_id=run_id, names=new))
                named.update(new)
        if metrics.epoch % every == 0 or metrics.epoch == num_epochs:
            _report(run, metrics, has_checkpoint=journal is not None)
    if journal is not None:
        journal.append(_finished(run, run_id))


def _report(run: TrainingRun, metrics: EpochMetrics, *, has_checkpoint: bool) -> None:
    """Hand metrics, and from the first worker the state, to Ray; returns when both are stored."""
    name = _checkpoint_name(metrics.epoch)
    if not has_checkpoint:
        ray.train.report(_row(metrics), checkpoint_dir_name=name)
        return
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(Path(folder), run.state())
        ray.train.report(
            _row(metrics), checkpoint=Checkpoint.from_directory(folder), checkpoint_dir_name=name
        )


def _finished(run: TrainingRun, run_id: str) -> RunFinished:
    metrics = run.history[-1]
    return RunFinished(
        run_id=run_id,
        metrics=_row(metrics),
        layers=layer_rows(run.report()),
        checkpoint=f"runs/{run_id}/{_checkpoint_name(metrics.epoch)}",
    )


def _row(metrics: EpochMetrics) -> dict[str, float]:
    return dict(vars(metrics))


def _checkpoint_name(epoch: int) -> str:
    return f"epoch_{epoch:05d}"

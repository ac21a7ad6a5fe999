"""The Ray Train worker: runs a training run, stores what it gives, reports to Ray."""

from __future__ import annotations

import math
import os
import secrets
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypedDict

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device
from ray.train.v2.api.callback import UserCallback

from strsweep.config import Experiment, RunSettings
from strsweep.errors import ImagesUnreadableError, StorageError, StrsweepError
from strsweep.journal import Journal, RunFailed
from strsweep.storage import storage_of, store_at
from strsweep.training.checkpoints import RunCheckpoints, resume
from strsweep.training.run import TrainingRun
from strsweep.training.writer import RunWriter

_MAX_WORKER_FAILURES = 3
_MAX_CONTROLLER_FAILURES = 10
"""Ray's default is to try for ever, which turns a missing worker into a hang."""
_RAY_TRAIN = {
    # A report waits for the controller's next poll: at Ray's default of 2 s, short epochs would
    # spend most of their time waiting.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Workers import torch first. Where that takes longer than Ray's minute, as on a busy machine or
    # a slow disk, every try would begin anew and fail again.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
}
"""Read by ``fit()`` from the environment of its process."""


class WorkerTask(TypedDict):
    """What a worker is told, as plain values that Ray can ship."""

    location: str
    """Of the sweep: computed once, so that all processes of a sweep write into the same one."""
    experiment: dict[str, Any]
    run_id: str
    settings: dict[str, Any]


def task(experiment: Experiment, run_id: str, settings: RunSettings) -> WorkerTask:
    """Return the task of one run."""
    return WorkerTask(
        location=storage_of(experiment).location,
        experiment=experiment.model_dump(mode="json"),
        run_id=run_id,
        settings=settings.model_dump(),
    )


def trainer(
    experiment: Experiment,
    run_id: str,
    settings: RunSettings,
    callbacks: Sequence[UserCallback] = (),
) -> TorchTrainer:
    """Return the Ray trainer of one run; its ``fit()`` continues where an earlier one ended.

    Workers keep their checkpoints on the sweep's storage themselves: Ray Train ends a run when its
    own storage is away for a few seconds, so it gets a folder on the node for its notes.
    """
    for name, value in _RAY_TRAIN.items():
        os.environ.setdefault(name, value)
    workers = experiment.workers
    return TorchTrainer(
        train_worker,
        train_loop_config=dict(task(experiment, run_id, settings)),
        torch_config=TorchConfig(timeout_s=math.ceil(60 * workers.timeout_minutes)),
        scaling_config=ScalingConfig(
            num_workers=workers.count
            if workers.least == workers.count
            else (workers.least, workers.count),
            use_gpu=workers.gpus > 0,
            resources_per_worker=worker_resources(experiment),
        ),
        run_config=RunConfig(
            name=f"{experiment.sweep_id}-{run_id}-{secrets.token_hex(4)}",
            storage_path=notes_folder(),
            failure_config=FailureConfig(
                max_failures=_MAX_WORKER_FAILURES,
                controller_failure_limit=_MAX_CONTROLLER_FAILURES,
            ),
            callbacks=list(callbacks),
        ),
    )


def notes_folder() -> str:
    """Return a folder of this node for what Ray writes down and nobody reads again."""
    return str(Path(tempfile.gettempdir()) / f"strsweep-ray-{os.getuid()}")


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
    storage = store_at(config["location"], experiment.storage)
    journal = Journal(storage, writer=run_id)
    settings = RunSettings.model_validate(config["settings"])
    checkpoints = RunCheckpoints(
        storage,
        run_id,
        experiment.storage.checkpoints_kept,
        shared_epoch=settings.shared_epoch,
        fork=settings.fork,
    )
    rank, world_size = context.get_world_rank() or 0, context.get_world_size() or 1
    try:
        run = TrainingRun(
            experiment,
            settings,
            device=get_device(),
            rank=rank,
            world_size=world_size,
        )
        resume(run, checkpoints, rank)
        _train(run, RunWriter(run_id, journal, checkpoints) if rank == 0 else None, settings)
    except (ImagesUnreadableError, StorageError):
        raise  # the storage may come back: Ray tries again from the last checkpoint
    except StrsweepError as error:
        if rank == 0:
            reason = f"{type(error).__name__}: {error}"
            journal.append(RunFailed(run_id=run_id, reason=reason))


def _train(run: TrainingRun, writer: RunWriter | None, settings: RunSettings) -> None:
    with nullcontext() if writer is None else writer.outbox:
        for metrics in run.epochs():
            is_shared = metrics.epoch == settings.shared_epoch
            is_due = metrics.epoch % run.checkpoint_every == 0 or metrics.epoch == run.num_epochs
            if writer is not None:
                writer.epoch(run, metrics)
                if is_shared:
                    writer.share(run, metrics.epoch)
                elif is_due:
                    writer.checkpoint(run, metrics.epoch)
            if is_shared or is_due:
                ray.train.report(dict(vars(metrics)))
        if writer is not None:
            writer.finish(run)

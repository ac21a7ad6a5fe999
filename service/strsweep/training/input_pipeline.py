"""The data of runs on one worker: opened once, handed out epoch by epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch.distributed as dist

from strsweep.config import Experiment
from strsweep.data import (
    TrainingBatches,
    TrainingLoader,
    ValidationBatches,
    training_loader,
    validation_loader,
)
from strsweep.errors import ImagesUnreadableError, SettingError
from strsweep.tasks import Task, task_of

_TOLERATED = 0.01
"""Share of the images of an epoch; more than that is a lost disk or server, not some bad files."""
_NAMED = 20


class InputPipeline:
    """Training and validation data of one worker; loader processes live as long as the lane.

    Raises:
        SettingError: The data cannot be opened or are fewer than a batch.
    """

    def __init__(self, experiment: Experiment, rank: int, world_size: int) -> None:
        self.task = task_of(experiment)
        check_batch_size(experiment, self.task)
        training = experiment.training
        shard: Any = {"batch_size": training.batch_size, "rank": rank, "world_size": world_size}
        self._batches = TrainingBatches(
            num_samples=len(self.task.train), seed=training.seed, epoch=0, **shard
        )
        validation = ValidationBatches(num_samples=len(self.task.val), **shard)
        # Only a collate of their own needs samples one by one.
        collate = None if type(self.task).collate is Task.collate else self.task.collate
        processes = experiment.data.loader_processes
        self._training = training_loader(self.task.train, self._batches, processes, collate=collate)
        self.validation = validation_loader(self.task.val, validation, processes, collate=collate)

    @property
    def batch_size(self) -> int:
        """Samples of a full step over all workers of this pipeline."""
        return self._batches.batch_size

    @property
    def steps(self) -> int:
        """Optimizer steps of one epoch."""
        return len(self._batches)

    def epoch(self, epoch: int) -> TrainingLoader:
        """Return the training batches of ``epoch``, from 0."""
        self._training.set_epoch(epoch)
        return self._training

    def seed(self, epoch: int) -> int:
        """Return the seed of ``epoch`` and this worker, for what the network draws."""
        mixed = replace(self._batches, epoch=epoch).generator().initial_seed()
        return (mixed + self._batches.rank) % 2**63

    def unreadable(self, train: list[int], val: list[int]) -> tuple[int, list[str]]:
        """Return how many images of an epoch no worker could read, and the names of some.

        ``train`` and ``val`` are the numbers of those that this worker could not read.

        Raises:
            ImagesUnreadableError: They are more than a bad file here and there.
        """
        bad = [("train", index) for index in train] + [("val", index) for index in val]
        count, named = _over_workers(
            len(bad), [self.task.sample_name(*one) for one in bad[:_NAMED]]
        )
        if count > _TOLERATED * (len(self.task.train) + len(self.task.val)):
            _, reasons = _over_workers(0, [self.task.unreadable_reason(*one) for one in bad[:1]])
            raise ImagesUnreadableError(
                f"{count} images of one epoch could not be read, among them {named[0]}: "
                + (
                    f"{reasons[0]} (data.path)"
                    if reasons[0]
                    else "is the storage of data.path there?"
                )
            )
        return count, named[:_NAMED]


def check_batch_size(experiment: Experiment, task: Task) -> None:
    """Raise ``SettingError`` unless an epoch has at least one full step."""
    if len(task.train) < experiment.training.batch_size:
        remedy = (
            f"There are {len(task.train)} training samples, fewer than one batch: use a smaller "
            "batch."
        )
        raise SettingError("training.batch_size", experiment.training.batch_size, remedy)


def _over_workers(count: int, names: list[str]) -> tuple[int, list[str]]:
    if not dist.is_initialized():
        return count, names
    gathered: list[tuple[int, list[str]]] = [(0, [])] * dist.get_world_size()
    dist.all_gather_object(gathered, (count, names))
    return sum(part[0] for part in gathered), [name for part in gathered for name in part[1]]

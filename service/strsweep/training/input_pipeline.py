"""The data of runs on one worker: opened once, handed out epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch.distributed as dist

from strsweep.config import Experiment
from strsweep.data import (
    TrainingBatches,
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
        self._validation = validation_loader(self.task.val, validation, processes, collate=collate)
        self._unreadable: list[tuple[str, int]] = []
        """Split and number of each sample that this worker could not read in this epoch."""

    @property
    def batch_size(self) -> int:
        """Samples of a full step over all workers of this pipeline."""
        return self._batches.batch_size

    @property
    def steps(self) -> int:
        """Optimizer steps of one epoch."""
        return len(self._batches)

    @property
    def validation_steps(self) -> int:
        """Batches of this worker's validation samples."""
        return len(self._validation)

    def epoch(self, epoch: int) -> Iterator[Any]:
        """Yield the training batches of ``epoch``, from 0."""
        self._unreadable.clear()
        self._training.set_epoch(epoch)
        yield from self._read("train", self._training)

    def validation(self) -> Iterator[Any]:
        """Yield this worker's share of the validation samples, in batches."""
        return self._read("val", self._validation)

    def _read(self, split: str, batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            self._unreadable += [(split, index) for index in self.task.unreadable(batch)]
            yield batch

    def seed(self, epoch: int) -> int:
        """Return the seed of ``epoch`` and this worker, for what the network draws."""
        mixed = replace(self._batches, epoch=epoch).generator().initial_seed()
        return (mixed + self._batches.rank) % 2**63

    def unreadable(self) -> tuple[int, list[str]]:
        """Return how many images since the epoch began no worker could read, and names of some.

        Raises:
            ImagesUnreadableError: They are more than a bad file here and there.
        """
        bad = self._unreadable
        parts = of_all_workers((len(bad), [self.task.sample_name(*one) for one in bad[:_NAMED]]))
        count = sum(number for number, _ in parts)
        names = [name for _, some in parts for name in some][:_NAMED]
        if count > _TOLERATED * (len(self.task.train) + len(self.task.val)):
            told = of_all_workers([self.task.unreadable_reason(*one) for one in bad[:1]])
            reason = next(first for first, *_ in filter(None, told))
            why = f"{reason} (data.path)" if reason else "is the storage of data.path there?"
            raise ImagesUnreadableError(
                f"{count} images of one epoch could not be read, among them {names[0]}: {why}"
            )
        return count, names


def check_batch_size(experiment: Experiment, task: Task) -> None:
    """Raise ``SettingError`` unless an epoch has at least one full step."""
    if len(task.train) < experiment.training.batch_size:
        remedy = (
            f"There are {len(task.train)} training samples, fewer than one batch: use a smaller "
            "batch."
        )
        raise SettingError("training.batch_size", experiment.training.batch_size, remedy)


def of_all_workers(value: Any) -> list[Any]:
    """Return on all workers what ``value`` is on each of them, in their order."""
    if not dist.is_initialized():
        return [value]
    gathered = [value] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered

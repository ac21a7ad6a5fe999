"""The images of a run on one worker: opened once, handed out epoch by epoch."""

from __future__ import annotations

from dataclasses import replace

import torch.distributed as dist

from strsweep.config import Experiment
from strsweep.data import (
    TrainingBatches,
    TrainingLoader,
    ValidationBatches,
    check_batch_size,
    load_images,
    training_loader,
    validation_loader,
)
from strsweep.errors import ImagesUnreadableError

_TOLERATED = 0.01
"""Share of the images of an epoch; more than that is a lost disk or server, not some bad files."""
_NAMED = 20


class InputPipeline:
    """Training and validation images of one worker; loader processes live as long as the run.

    Args:
        experiment: Names the data, batch size and seed.
        rank: Number of this worker, from 0.
        world_size: Workers of this run.

    Raises:
        SettingError: The data set cannot be opened or is smaller than a batch.
    """

    def __init__(self, experiment: Experiment, rank: int, world_size: int) -> None:
        self.images = load_images(experiment.data)
        check_batch_size(experiment, self.images)
        self._batches = TrainingBatches(
            num_images=self.images.num_train,
            batch_size=experiment.training.batch_size,
            seed=experiment.training.seed,
            epoch=0,
            rank=rank,
            world_size=world_size,
        )
        validation = ValidationBatches(
            num_images=self.images.num_val,
            batch_size=experiment.training.batch_size,
            rank=rank,
            world_size=world_size,
        )
        processes = experiment.data.loader_processes
        self._training = training_loader(self.images, self._batches, processes)
        self.validation = validation_loader(self.images, validation, processes)

    @property
    def sizes(self) -> list[int]:
        """Images of every step over all workers."""
        return self._batches.sizes

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

        Args:
            train: Numbers of training images that this worker could not read.
            val: Numbers of validation images.

        Raises:
            ImagesUnreadableError: They are more than a bad file here and there.
        """
        names = [self.images.name("train", index) for index in train]
        names += [self.images.name("val", index) for index in val]
        count, named = _over_workers(len(names), names[:_NAMED])
        if count > _TOLERATED * (self.images.num_train + self.images.num_val):
            raise ImagesUnreadableError(
                f"{count} images of one epoch could not be read, among them {named[0]}: "
                "is the storage of data.path there?"
            )
        return count, named[:_NAMED]


def _over_workers(count: int, names: list[str]) -> tuple[int, list[str]]:
    if not dist.is_initialized():
        return count, names
    gathered: list[tuple[int, list[str]]] = [(0, [])] * dist.get_world_size()
    dist.all_gather_object(gathered, (count, names))
    return sum(part[0] for part in gathered), [name for part in gathered for name in part[1]]

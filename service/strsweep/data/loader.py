"""Iterate over the images of one worker, batch by batch."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from strsweep.data.batches import TrainingBatches, ValidationBatches
from strsweep.data.images import Images

_64_BITS = 2**64 - 1


class TrainingLoader(DataLoader[Any]):
    """Yields ``(images, labels)`` of one epoch; made by ``training_loader``.

    Make one per run and call ``set_epoch`` before every epoch: the processes that decode images
    then live as long as the run.
    """

    def __init__(self, dataset: Dataset[Any], epoch: _Epoch, options: dict[str, Any]) -> None:
        super().__init__(dataset, **options)
        self._epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration show the batches of ``epoch``, counted from 0."""
        self._epoch.batches = replace(self._epoch.batches, epoch=epoch)


def training_loader(images: Images, batches: TrainingBatches, processes: int = 0) -> TrainingLoader:
    """Yield ``(images, labels)`` of one epoch; shapes [share of the batch, C, H, W] and [same].

    The augmentation of an image is a function of seed, epoch and image number alone: neither the
    number of workers nor that of processes changes it, and it leaves torch's random state as it
    was.

    Args:
        images: The data set.
        batches: Which images, in which order.
        processes: Processes that decode images; 0 decodes in this one. Images that are in memory
            need none.
    """
    if isinstance(images.train, TensorDataset):
        options = _gathering(epoch := _Epoch(batches))
        return TrainingLoader(images.train, epoch, options)
    options = _decoding(epoch := _SeededEpoch(batches), processes)
    return TrainingLoader(_Augmented(images.train), epoch, options)


def validation_loader(
    images: Images, batches: ValidationBatches, processes: int = 0
) -> DataLoader[Any]:
    """Yield ``(images, labels)`` of this worker's share of the validation images.

    Make one per run and iterate over it after every epoch.

    Args:
        images: The data set.
        batches: Which images.
        processes: As of ``training_loader``.
    """
    in_memory = isinstance(images.val, TensorDataset)
    return DataLoader(
        images.val, **(_gathering(batches) if in_memory else _decoding(batches, processes))
    )


def image_seed(epoch_seed: int, index: int) -> int:
    """Mix the seed of an epoch and an image number into the seed of that image (splitmix64).

    Neighbouring images get unrelated seeds: Steele, Lea and Flood, "Fast splittable pseudorandom
    number generators" (2014), the finalizer of figure 16.
    """
    mixed = (epoch_seed + (index + 1) * 0x9E3779B97F4A7C15) & _64_BITS
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _64_BITS
    return mixed ^ (mixed >> 31)


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Let torch draw on the CPU as after ``manual_seed(seed)``; its own state is restored."""
    # torch.random.fork_rng would also save, and torch.manual_seed also seed, every GPU.
    saved = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(saved)


class _Epoch:
    """The batch sampler of a loader: the epoch can change while the loader stays."""

    def __init__(self, batches: TrainingBatches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Any]]:
        return iter(self.batches)


class _SeededEpoch(_Epoch):
    """Sends the seed of the epoch along with every image number: processes know no epochs."""

    def __iter__(self) -> Iterator[list[Any]]:
        seed = self.batches.generator().initial_seed()
        for batch in self.batches:
            yield [(seed, index) for index in batch]


class _Augmented(Dataset[Any]):
    def __init__(self, images: Dataset[Any]) -> None:
        self._images = images

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch_seed, index = key
        with seeded(image_seed(epoch_seed, index)):
            return self._images[index]


def _gathering(batches: _Epoch | ValidationBatches) -> dict[str, Any]:
    # One gather per batch instead of one per image: on digits the loader cost more than the
    # network otherwise.
    return {"sampler": batches, "batch_size": None, **_shared_options()}


def _decoding(batches: _Epoch | ValidationBatches, processes: int) -> dict[str, Any]:
    return {
        "batch_sampler": batches,
        "num_workers": processes,
        "persistent_workers": processes > 0,
        **_shared_options(),
    }


def _shared_options() -> dict[str, Any]:
    # Its own generator, or the loader would draw from torch's global one.
    return {"generator": torch.Generator(), "pin_memory": torch.cuda.is_available()}

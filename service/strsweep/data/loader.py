"""Which worker sees which sample when, and how samples become batches."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, TensorDataset

_FEWEST_PER_WORKER = 2
Collate = Callable[[Sequence[Any]], Any] | None
_64_BITS = 2**64 - 1


@dataclass(frozen=True, kw_only=True)
class TrainingBatches:
    """One epoch of one worker. The union over the workers is the same for every number of them.

    The images are shuffled by ``(seed, epoch)`` and cut into global batches. Worker r takes every
    ``world_size``-th image of a batch. The last batch holds what is left over, as in the paper
    (1,281,167 images in batches of 256 are 5005 steps), so the shares of the workers can differ by
    one image in it. It is left out if a worker would get fewer than 2 images, as batch norm cannot
    use a single one; only then do epochs of different numbers of workers differ.
    """

    num_samples: int
    batch_size: int
    """Images of the global batch; a multiple of ``world_size``."""
    seed: int
    epoch: int
    rank: int = 0
    world_size: int = 1

    @property
    def sizes(self) -> list[int]:
        """Images of every step over all workers; all but the last are ``batch_size``."""
        full, left_over = divmod(self.num_samples, self.batch_size)
        is_kept = left_over >= _FEWEST_PER_WORKER * self.world_size
        return [self.batch_size] * full + [left_over] * is_kept

    def __len__(self) -> int:
        """Steps of one epoch."""
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the image numbers of this worker, one list per step."""
        order = torch.randperm(self.num_samples, generator=self.generator()).tolist()
        start = 0
        for size in self.sizes:
            yield order[start + self.rank : start + size : self.world_size]
            start += size

    def generator(self) -> torch.Generator:
        """Return the random state of this epoch, a function of ``(seed, epoch)`` alone."""
        # Knuth's multiplicative constant keeps the epochs of neighbouring seeds apart.
        mixed = (self.seed * 6364136223846793005 + self.epoch * 1442695040888963407) % 2**63
        return torch.Generator().manual_seed(mixed)


class ValidationBatches(BatchSampler):
    """The share of the validation images of one worker: every image exactly once over all.

    The numbers of workers' steps can differ by one. ``batch_size`` is that of all together.
    """

    def __init__(
        self, *, num_samples: int, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> None:
        share = range(rank, num_samples, world_size)
        super().__init__(share, max(batch_size // world_size, 1), drop_last=False)


class TrainingLoader(DataLoader[Any]):
    """Yields the batches of one epoch; made by ``training_loader``.

    Make one per run and call ``set_epoch`` before every epoch: the processes that read samples
    then live as long as the run.
    """

    def __init__(self, dataset: Dataset[Any], epoch: _Epoch, options: dict[str, Any]) -> None:
        super().__init__(dataset, **options)
        self._epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration show the batches of ``epoch``, counted from 0."""
        self._epoch.batches = replace(self._epoch.batches, epoch=epoch)


def training_loader(
    data: Any, batches: TrainingBatches, processes: int = 0, *, collate: Collate = None
) -> TrainingLoader:
    """Yield the batches of one epoch, this worker's share of each.

    What a sample draws at random, such as its augmentation, is a function of seed, epoch and sample
    number alone: neither the number of workers nor that of processes changes it, and it leaves the
    random states as they were.

    Args:
        data: Gives sample ``i`` for ``data[i]``.
        batches: Which samples, in which order.
        processes: Processes that read samples; 0 reads in this one. Tensors that are in memory need
            none.
        collate: Makes a batch of samples; None: as torch does.
    """
    is_gathered = _is_gathered(data, collate)
    epoch = _Epoch(batches, is_seeded=not is_gathered)
    options = _options(epoch, collate, processes, is_gathered=is_gathered)
    return TrainingLoader(data if is_gathered else _Seeded(data), epoch, options)


def validation_loader(
    data: Any, batches: ValidationBatches, processes: int = 0, *, collate: Collate = None
) -> DataLoader[Any]:
    """Yield the batches of this worker's share of the validation samples.

    Make one per run and iterate over it after every epoch. Arguments as of ``training_loader``.
    """
    is_gathered = _is_gathered(data, collate)
    return DataLoader(data, **_options(batches, collate, processes, is_gathered=is_gathered))


def sample_seed(epoch_seed: int, index: int) -> int:
    """Mix the seed of an epoch and a sample number into the seed of that sample (splitmix64).

    Neighbouring samples get unrelated seeds: Steele, Lea and Flood, "Fast splittable pseudorandom
    number generators" (2014), the finalizer of figure 16.
    """
    mixed = (epoch_seed + (index + 1) * 0x9E3779B97F4A7C15) & _64_BITS
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _64_BITS
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _64_BITS
    return mixed ^ (mixed >> 31)


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Let torch, NumPy and ``random`` draw by ``seed`` on the CPU; their own states come back."""
    # torch.random.fork_rng would also save, and torch.manual_seed also seed, every GPU.
    saved = torch.get_rng_state(), np.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(saved[0])
        np.random.set_state(saved[1])
        random.setstate(saved[2])


class _Epoch:
    """The batch sampler of a loader: the epoch can change while the loader stays."""

    def __init__(self, batches: TrainingBatches, *, is_seeded: bool) -> None:
        self.batches, self._is_seeded = batches, is_seeded

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Any]]:
        if not self._is_seeded:
            return iter(self.batches)
        # The seed goes along with every image number: processes know no epochs.
        seed = self.batches.generator().initial_seed()
        return ([(seed, index) for index in batch] for batch in self.batches)


class _Seeded(Dataset[Any]):
    def __init__(self, data: Any) -> None:
        self._data = data

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch_seed, index = key
        with seeded(sample_seed(epoch_seed, index)):
            return self._data[index]


def _is_gathered(data: Any, collate: Collate) -> bool:
    """Return whether batches are gathered from memory at once, not image by image.

    On digits the loader would cost more than the network otherwise.
    """
    return isinstance(data, TensorDataset) and collate is None


def _options(
    batches: _Epoch | ValidationBatches, collate: Collate, processes: int, *, is_gathered: bool
) -> dict[str, Any]:
    # Its own generator, or the loader would draw from torch's global one.
    shared = {"generator": torch.Generator(), "pin_memory": torch.cuda.is_available()}
    if is_gathered:
        return {"sampler": batches, "batch_size": None, **shared}
    return {
        "batch_sampler": batches,
        "collate_fn": collate,
        "num_workers": processes,
        "persistent_workers": processes > 0,
        **shared,
    }

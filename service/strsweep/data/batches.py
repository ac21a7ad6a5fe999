"""Which worker sees which image when: global batches, shared exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class TrainingBatches:
    """One epoch of one worker. The union over the workers is the same for every number of them.

    The images are shuffled by ``(seed, epoch)`` and cut into global batches; what is left over
    after the last full batch is dropped. Worker r takes every ``world_size``-th image of a batch.
    """

    num_images: int
    batch_size: int
    """Images of the global batch; a multiple of ``world_size``."""
    seed: int
    epoch: int
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        """Steps of one epoch."""
        return self.num_images // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the image numbers of this worker, one list per step."""
        order = torch.randperm(self.num_images, generator=self.generator()).tolist()
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start + self.rank : start + self.batch_size : self.world_size]

    def generator(self) -> torch.Generator:
        """Return the random state of this epoch, a function of ``(seed, epoch)`` alone."""
        # Knuth's multiplicative constant keeps the epochs of neighbouring seeds apart.
        mixed = (self.seed * 6364136223846793005 + self.epoch * 1442695040888963407) % 2**63
        return torch.Generator().manual_seed(mixed)


@dataclass(frozen=True, kw_only=True)
class ValidationBatches:
    """The share of the validation images of one worker: every image exactly once over all."""

    num_images: int
    batch_size: int
    """Images per step over all workers together."""
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        """Steps of this worker; workers can differ by one."""
        share = len(range(self.rank, self.num_images, self.world_size))
        return -(-share // self._per_worker)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the image numbers of this worker, one list per step; the last can be shorter."""
        share = list(range(self.rank, self.num_images, self.world_size))
        for start in range(0, len(share), self._per_worker):
            yield share[start : start + self._per_worker]

    @property
    def _per_worker(self) -> int:
        return max(self.batch_size // self.world_size, 1)

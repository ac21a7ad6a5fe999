"""Which worker sees which image when: global batches, shared exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

_FEWEST_PER_WORKER = 2


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
    drop_last: bool = False
    """Leave out the last batch if it is not full."""

    @property
    def sizes(self) -> list[int]:
        """Images of every step over all workers; all but the last are ``batch_size``."""
        full, left_over = divmod(self.num_samples, self.batch_size)
        is_kept = left_over >= _FEWEST_PER_WORKER * self.world_size and not self.drop_last
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


@dataclass(frozen=True, kw_only=True)
class ValidationBatches:
    """The share of the validation images of one worker: every image exactly once over all."""

    num_samples: int
    batch_size: int
    """Images per step over all workers together."""
    rank: int = 0
    world_size: int = 1

    def __len__(self) -> int:
        """Steps of this worker; workers can differ by one."""
        share = len(range(self.rank, self.num_samples, self.world_size))
        return -(-share // self._per_worker)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the image numbers of this worker, one list per step; the last can be shorter."""
        share = list(range(self.rank, self.num_samples, self.world_size))
        for start in range(0, len(share), self._per_worker):
            yield share[start : start + self._per_worker]

    @property
    def _per_worker(self) -> int:
        return max(self.batch_size // self.world_size, 1)

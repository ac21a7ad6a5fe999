"""A random state per image: augmentation that does not depend on who loads the image."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

_64_BITS = 2**64 - 1


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

"""Every worker sees its exact share of every epoch."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strsweep.data import TrainingBatches, ValidationBatches


@st.composite
def epochs(draw: st.DrawFn) -> TrainingBatches:
    world_size = draw(st.integers(1, 6))
    return TrainingBatches(
        num_samples=draw(st.integers(0, 120)),
        batch_size=world_size * draw(st.integers(1, 8)),
        seed=draw(st.integers(0, 2**63 - 1)),
        epoch=draw(st.integers(0, 1000)),
        world_size=world_size,
    )


def of_worker(epoch: TrainingBatches, rank: int, world_size: int) -> list[list[int]]:
    return list(replace(epoch, rank=rank, world_size=world_size))


@given(epochs())
def test_global_batches_are_the_same_for_every_number_of_workers(epoch: TrainingBatches) -> None:
    alone = of_worker(epoch, 0, 1)
    shares = [of_worker(epoch, rank, epoch.world_size) for rank in range(epoch.world_size)]
    assert all(len(share) == len(epoch) == len(epoch.sizes) for share in shares)
    left_over = epoch.num_samples % epoch.batch_size
    is_dropped = 2 <= left_over < 2 * epoch.world_size  # the only thing that workers can change
    assert len(alone) == len(epoch) + is_dropped
    for step, size in enumerate(epoch.sizes):
        together = list(chain.from_iterable(share[step] for share in shares))
        assert sorted(together) == sorted(alone[step])
        assert len(together) == size
        lengths = [len(share[step]) for share in shares]
        assert max(lengths) - min(lengths) <= (1 if size < epoch.batch_size else 0)
        assert min(lengths) >= min(2, epoch.batch_size // epoch.world_size)


@given(epochs())
def test_an_epoch_shows_no_image_twice_and_drops_fewer_than_two_per_worker(
    epoch: TrainingBatches,
) -> None:
    shares = [of_worker(epoch, rank, epoch.world_size) for rank in range(epoch.world_size)]
    shown = [index for share in shares for batch in share for index in batch]
    assert len(set(shown)) == len(shown) == sum(epoch.sizes)
    assert set(shown) <= set(range(epoch.num_samples))
    assert 0 <= epoch.num_samples - len(shown) < 2 * epoch.world_size


@pytest.mark.parametrize(
    ("num_images", "batch_size", "world_size", "expected"),
    [
        (10, 4, 1, [4, 4, 2]),
        (10, 4, 2, [4, 4]),  # 1 image a worker: batch norm cannot use it
        (11, 4, 1, [4, 4, 3]),
        (9, 4, 1, [4, 4]),
        (8, 4, 2, [4, 4]),
        (13, 8, 2, [8, 5]),
        (3, 4, 1, [3]),
        (0, 4, 1, []),
        *[(1_281_167, 256, workers, [256] * 5004 + [143]) for workers in (1, 64)],  # ImageNet
    ],
)
def test_sizes_by_hand(
    num_images: int, batch_size: int, world_size: int, expected: list[int]
) -> None:
    batches = TrainingBatches(
        num_samples=num_images, batch_size=batch_size, seed=0, epoch=0, world_size=world_size
    )
    assert batches.sizes == expected
    assert len(batches) == len(expected)


@given(st.integers(0, 2**63 - 1), st.integers(0, 500))
def test_order_is_a_function_of_seed_and_epoch(seed: int, epoch: int) -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return list(TrainingBatches(num_samples=100, batch_size=10, seed=seed, epoch=epoch))

    assert order(seed, epoch) == order(seed, epoch)
    assert order(seed, epoch) != order(seed, epoch + 1)
    assert order(seed, epoch) != order((seed + 1) % 2**63, epoch)


@given(st.integers(0, 200), st.integers(1, 40), st.integers(1, 7))
def test_validation_shows_every_image_exactly_once(
    num_images: int, batch_size: int, world_size: int
) -> None:
    shown: list[int] = []
    for rank in range(world_size):
        batches = ValidationBatches(
            num_samples=num_images, batch_size=batch_size, rank=rank, world_size=world_size
        )
        steps = list(batches)
        assert len(steps) == len(batches)
        assert all(0 < len(step) <= max(batch_size // world_size, 1) for step in steps)
        shown += chain.from_iterable(steps)
    assert sorted(shown) == list(range(num_images))


@pytest.mark.parametrize(("rank", "expected"), [(0, [[0, 3], [6]]), (1, [[1, 4]]), (2, [[2, 5]])])
def test_validation_share_by_hand(rank: int, expected: list[list[int]]) -> None:
    assert list(ValidationBatches(num_samples=7, batch_size=6, rank=rank, world_size=3)) == expected

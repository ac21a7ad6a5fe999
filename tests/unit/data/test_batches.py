"""Every worker sees its exact share of every epoch."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strsweep.data import TrainingBatches, ValidationBatches


@st.composite
def epochs(draw: st.DrawFn) -> TrainingBatches:
    world_size = draw(st.integers(1, 6))
    return TrainingBatches(
        num_images=draw(st.integers(0, 120)),
        batch_size=world_size * draw(st.integers(1, 8)),
        seed=draw(st.integers(0, 2**63 - 1)),
        epoch=draw(st.integers(0, 1000)),
        world_size=world_size,
    )


def of_worker(epoch: TrainingBatches, rank: int, world_size: int) -> list[list[int]]:
    return list(
        TrainingBatches(
            num_images=epoch.num_images,
            batch_size=epoch.batch_size,
            seed=epoch.seed,
            epoch=epoch.epoch,
            rank=rank,
            world_size=world_size,
        )
    )


@given(epochs())
def test_global_batches_are_the_same_for_every_number_of_workers(epoch: TrainingBatches) -> None:
    alone = of_worker(epoch, 0, 1)
    shares = [of_worker(epoch, rank, epoch.world_size) for rank in range(epoch.world_size)]
    assert all(len(share) == len(alone) == len(epoch) for share in shares)
    for step, batch in enumerate(alone):
        assert sorted(chain.from_iterable(share[step] for share in shares)) == sorted(batch)
        sizes = {len(share[step]) for share in shares}
        assert sizes == {epoch.batch_size // epoch.world_size}


@given(epochs())
def test_an_epoch_shows_no_image_twice_and_drops_less_than_a_batch(epoch: TrainingBatches) -> None:
    shown = list(chain.from_iterable(of_worker(epoch, 0, 1)))
    assert len(set(shown)) == len(shown)
    assert set(shown) <= set(range(epoch.num_images))
    assert 0 <= epoch.num_images - len(shown) < epoch.batch_size


@given(st.integers(0, 2**63 - 1), st.integers(0, 500))
def test_order_is_a_function_of_seed_and_epoch(seed: int, epoch: int) -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return list(TrainingBatches(num_images=100, batch_size=10, seed=seed, epoch=epoch))

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
            num_images=num_images, batch_size=batch_size, rank=rank, world_size=world_size
        )
        steps = list(batches)
        assert len(steps) == len(batches)
        assert all(0 < len(step) <= max(batch_size // world_size, 1) for step in steps)
        shown += chain.from_iterable(steps)
    assert sorted(shown) == list(range(num_images))


@pytest.mark.parametrize(("rank", "expected"), [(0, [[0, 3], [6]]), (1, [[1, 4]]), (2, [[2, 5]])])
def test_validation_share_by_hand(rank: int, expected: list[list[int]]) -> None:
    assert list(ValidationBatches(num_images=7, batch_size=6, rank=rank, world_size=3)) == expected

"""What a worker gets is a function of seed, epoch and image: not of who loads it, or with what."""

from __future__ import annotations

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from strsweep.config import DataConfig
from strsweep.data import (
    LabelledData,
    TrainingBatches,
    ValidationBatches,
    load_data,
    training_loader,
    validation_loader,
)
from strsweep.data.loader import sample_seed, seeded

pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]


@pytest.fixture
def images(tmp_path: Path) -> LabelledData:
    """Return 11 training images of noise: no two crops of them are alike."""
    random = np.random.default_rng(0)
    for split, count in (("train", 11), ("val", 3)):
        (tmp_path / split / "a").mkdir(parents=True)
        for index in range(count):
            pixels = random.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / split / "a" / f"{index:02d}.png")
    return load_data(DataConfig(name="imagefolder", path=tmp_path, image_size=16))


def epoch_batches(epoch: int, *, seed: int = 0, rank: int = 0, world_size: int = 1) -> Any:
    return TrainingBatches(
        num_samples=11, batch_size=6, seed=seed, epoch=epoch, rank=rank, world_size=world_size
    )


def augmented(
    images: LabelledData, epoch: int, *, seed: int = 0, world_size: int = 1, processes: int = 0
) -> dict[int, Tensor]:
    """Return every image of an epoch as it was loaded, by its number."""
    found: dict[int, Tensor] = {}
    for rank in range(world_size):
        batches = epoch_batches(epoch, seed=seed, rank=rank, world_size=world_size)
        loader = training_loader(images.train, batches, processes)
        for indices, (pictures, _) in zip(batches, loader, strict=True):
            found.update(zip(indices, pictures, strict=True))
    return found


def are_equal(one: dict[int, Tensor], other: dict[int, Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(one[index], other[index]) for index in one)


@pytest.mark.parametrize(("world_size", "processes"), [(1, 0), (1, 2), (2, 0), (2, 1), (2, 2)])
def test_augmentation_depends_on_seed_epoch_and_image_alone(
    images: LabelledData, world_size: int, processes: int
) -> None:
    torch.manual_seed(world_size + processes)
    shown = augmented(images, 0, world_size=world_size, processes=processes)
    assert sorted(shown) == list(range(11))
    torch.manual_seed(12345)
    assert are_equal(shown, augmented(images, 0))


def test_augmentation_differs_between_epochs_seeds_and_images(images: LabelledData) -> None:
    first, second, other = augmented(images, 0), augmented(images, 1), augmented(images, 0, seed=1)
    assert not any(torch.equal(first[index], second[index]) for index in first)
    assert not any(torch.equal(first[index], other[index]) for index in first)


@pytest.mark.parametrize("processes", [0, 2])
def test_a_loader_that_stays_shows_what_new_ones_show(images: LabelledData, processes: int) -> None:
    loader = training_loader(images.train, epoch_batches(0), processes)
    seen: list[set[int | None]] = []
    for epoch in (0, 1, 5, 1):  # and back, as a run that is resumed in the same process
        loader.set_epoch(epoch)
        batches = epoch_batches(epoch)
        assert len(loader) == len(batches)
        shown: dict[int, Tensor] = {}
        for indices, (pictures, _) in zip(batches, loader, strict=True):
            shown.update(zip(indices, pictures, strict=True))
        assert are_equal(shown, augmented(images, epoch))
        seen.append({process.pid for process in multiprocessing.active_children()})
    assert all(len(pids) == processes for pids in seen)
    assert all(pids == seen[0] for pids in seen), "the processes were started again"


def test_an_epoch_left_in_the_middle_does_not_leak_into_the_next(images: LabelledData) -> None:
    loader = training_loader(images.train, epoch_batches(0), 2)
    next(iter(loader))
    loader.set_epoch(1)
    shown = [pictures for pictures, _ in loader]
    expected = [pictures for pictures, _ in training_loader(images.train, epoch_batches(1))]
    assert all(torch.equal(one, other) for one, other in zip(shown, expected, strict=True))


def test_processes_end_with_their_loader(images: LabelledData) -> None:
    loader = training_loader(images.train, epoch_batches(0), 2)
    list(loader)
    assert len(multiprocessing.active_children()) == 2
    del loader
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("processes", [0, 1])
def test_loading_leaves_torchs_random_state(images: LabelledData, processes: int) -> None:
    before = torch.get_rng_state()
    list(training_loader(images.train, epoch_batches(0), processes))
    list(validation_loader(images.val, ValidationBatches(num_samples=3, batch_size=2), processes))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("processes", [0, 1])
def test_validation_can_be_iterated_again(images: LabelledData, processes: int) -> None:
    loader = validation_loader(
        images.val, ValidationBatches(num_samples=3, batch_size=2), processes
    )
    first, again = ([pictures for pictures, _ in loader] for _ in range(2))
    assert [len(pictures) for pictures in first] == [2, 1]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


def test_images_in_memory_are_gathered_by_batch_and_epoch() -> None:
    digits = load_data(DataConfig(name="digits"))
    dataset: Any = digits.train
    batches = TrainingBatches(num_samples=1400, batch_size=128, seed=3, epoch=0)
    loader = training_loader(digits.train, batches, processes=2)
    for epoch in (0, 4):
        loader.set_epoch(epoch)
        expected = TrainingBatches(num_samples=1400, batch_size=128, seed=3, epoch=epoch)
        for indices, (pictures, labels) in zip(expected, loader, strict=True):
            assert torch.equal(pictures, dataset.tensors[0][indices])
            assert torch.equal(labels, dataset.tensors[1][indices])
    assert multiprocessing.active_children() == []


def test_a_data_set_can_be_sent_to_another_process(images: LabelledData) -> None:
    # Python 3.14 starts the processes of a loader anew and sends them the data set.
    copy: Any = pickle.loads(pickle.dumps(images))
    assert torch.equal(copy.val[0][0], images.val[0][0])


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**31))
def test_neighbouring_images_and_epochs_get_other_seeds(epoch_seed: int, index: int) -> None:
    seed = sample_seed(epoch_seed, index)
    assert 0 <= seed < 2**64
    neighbours = [
        sample_seed(epoch_seed, index + 1),
        sample_seed((epoch_seed + 1) % 2**63, index),
        sample_seed((epoch_seed + 1) % 2**63, index + 1),
    ]
    # torch's generator looks at the lower half only.
    assert all(seed % 2**32 != other % 2**32 for other in neighbours)


def test_sample_seed_is_splitmix64() -> None:
    # First outputs of the published generator from the state 1234567.
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [sample_seed(1234567, index) for index in range(5)] == expected


def test_a_seed_gives_the_draws_of_manual_seed_and_the_state_comes_back() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(6)
    before = torch.get_rng_state()
    with seeded(5):
        assert torch.equal(torch.rand(3), expected)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ZeroDivisionError), seeded(5):
        torch.rand(int(1 / 0))
    assert torch.equal(torch.get_rng_state(), before)

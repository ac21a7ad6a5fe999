"""A data set's name opens it, or is an error that names the setting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from strsweep.config import DataConfig
from strsweep.data import (
    LabelledData,
    TrainingBatches,
    check_data,
    load_data,
    training_loader,
)
from strsweep.data.catalog import DATA_SETS
from strsweep.errors import SettingError

WITH_FILES = ["cifar10", "cifar100", "imagefolder", "imagenet"]


@pytest.mark.parametrize("open_or_check", [load_data, check_data])
@pytest.mark.parametrize(
    ("path", "told"),
    [
        (None, "needs the folder that holds"),
        (Path("nowhere"), "There is no such folder; it must hold"),
        (Path(__file__), "There is no such folder; it must hold"),
    ],
)
@pytest.mark.parametrize("name", ["cifar10", "cifar100", "imagefolder", "imagenet"])
def test_a_path_that_is_no_folder_is_told(
    name: str, path: Path | None, told: str, open_or_check: Any
) -> None:
    with pytest.raises(SettingError, match=told) as caught:
        open_or_check(DataConfig(name=name, path=path))
    assert caught.value.setting == "data.path"


@pytest.mark.parametrize(
    ("asked", "setting", "told"),
    [
        (
            {"name": "mnist"},
            "data.name",
            "'cifar10', 'cifar100', 'digits', .*'imagefolder', 'imagenet', .*'synthetic'",
        ),
        ({"name": "digits", "num_images": 10}, "data.num_images", "digits has its own number"),
        ({"name": "digits", "num_classes": 10}, "data.num_classes", "digits has its own number"),
    ],
)
def test_what_no_data_set_takes_is_told(asked: dict[str, Any], setting: str, told: str) -> None:
    with pytest.raises(SettingError, match=told) as caught:
        check_data(DataConfig.model_validate(asked))
    assert caught.value.setting == setting


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            FileNotFoundError(2, "No such file", "/data/y.txt"),
            "/data/y.txt cannot be read: No such",
        ),
        (OSError(5, "Input/output error"), "HERE cannot be read: Input/output error"),
        (OSError("is cut short"), "HERE cannot be read: is cut short"),
    ],
)
def test_what_cannot_be_read_is_named_with_what_the_folder_must_hold(
    error: OSError, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: DataConfig) -> LabelledData:
        raise error

    monkeypatch.setitem(DATA_SETS, "har2", replace(DATA_SETS["har2"], open=fails))
    with pytest.raises(SettingError) as caught:
        load_data(DataConfig(name="har2", path=tmp_path))
    assert caught.value.setting == "data.path"
    assert told.replace("HERE", str(tmp_path)) in caught.value.remedy
    assert "must hold train/ and test/ of UCI HAR Dataset." in caught.value.remedy


def test_digits_are_standardized_and_split() -> None:
    config = DataConfig(name="digits")
    check_data(config)
    images = load_data(config)
    assert (len(images.train), len(images.val), images.num_classes) == (1400, 397, 10)
    assert images.input_shape == (1, 8, 8)
    epoch = TrainingBatches(num_samples=1400, batch_size=1400, seed=0, epoch=0)
    ((batch, labels),) = training_loader(images.train, epoch)
    assert batch.shape == (1400, 1, 8, 8)
    assert batch.dtype == torch.float32
    assert labels.unique().tolist() == list(range(10))
    # Statistics of the training images alone, over all pixels.
    assert batch.mean().item() == pytest.approx(0, abs=1e-5)
    assert batch.std().item() == pytest.approx(1, abs=1e-5)
    assert images.name("val", 3) == "val image 3"


def test_no_digit_is_in_both_splits() -> None:
    images: Any = load_data(DataConfig(name="digits"))
    train = {tuple(image.flatten().tolist()) for image, _ in images.train}
    val = {tuple(image.flatten().tolist()) for image, _ in images.val}
    assert not train & val


def test_synthetic_images_have_the_numbers_that_are_asked_for() -> None:
    config = DataConfig(name="synthetic", num_images=300, num_classes=7, image_size=8)
    check_data(config)
    images = load_data(config)
    assert (len(images.train), len(images.val), images.num_classes) == (300, 30, 7)
    assert images.input_shape == (3, 8, 8)
    epoch = TrainingBatches(num_samples=300, batch_size=100, seed=0, epoch=0)
    batches = list(training_loader(images.train, epoch))
    assert [tuple(batch.shape) for batch, _ in batches] == [(100, 3, 8, 8)] * 3
    assert {int(label) for _, labels in batches for label in labels} == set(range(7))
    assert torch.cat([batch for batch, _ in batches]).std().item() == pytest.approx(1, rel=0.05)


def test_synthetic_images_are_the_same_every_time_and_not_those_of_validation() -> None:
    config = DataConfig(name="synthetic", num_images=50, image_size=8)
    one, other = (load_data(config) for _ in range(2))
    first: Any = one.train
    again: Any = other.train
    val: Any = one.val
    assert torch.equal(first[7][0], again[7][0])
    assert not torch.equal(first[0][0], val[0][0])
    assert not torch.equal(first[0][0], first[1][0])


def test_synthetic_has_a_size_by_default_and_never_less_than_two_for_validation() -> None:
    images = load_data(DataConfig(name="synthetic", image_size=8))
    assert (len(images.train), len(images.val), images.num_classes) == (12_800, 1280, 1000)
    assert len(load_data(DataConfig(name="synthetic", image_size=8, num_images=1)).val) == 2

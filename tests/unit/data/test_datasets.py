"""Data sets open with the right shapes, and a wrong folder is an error that names data.path."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from strsweep.config import DataConfig
from strsweep.data import (
    Images,
    TrainingBatches,
    ValidationBatches,
    load_images,
    training_loader,
    validation_loader,
)
from strsweep.errors import SettingError

CLASSES = ("ant", "bee", "cat")
RED = {"ant": 0, "bee": 127, "cat": 255}


def first_epoch(images: Images, batch_size: int) -> TrainingBatches:
    return TrainingBatches(num_images=images.num_train, batch_size=batch_size, seed=0, epoch=0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, per_class in (("train", 4), ("val", 2)):
        for name in CLASSES:
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(per_class):
                image = Image.new("RGB", (40, 30), (RED[name], 10 * index, 0))
                image.save(tmp_path / split / name / f"{index}.png")
    return tmp_path


def imagefolder(path: Path | None) -> DataConfig:
    return DataConfig(name="imagefolder", path=path, image_size=16)


def test_digits_are_standardized_and_split() -> None:
    images = load_images(DataConfig(name="digits"))
    assert (images.num_train, images.num_val, images.num_classes) == (1400, 397, 10)
    assert images.input_shape == (1, 8, 8)
    (batch, labels), *rest = training_loader(images, first_epoch(images, 1400))
    assert not rest
    assert batch.shape == (1400, 1, 8, 8)
    assert batch.dtype == torch.float32
    assert labels.unique().tolist() == list(range(10))
    # Statistics of the training images alone, over all pixels.
    assert batch.mean().item() == pytest.approx(0, abs=1e-5)
    assert batch.std().item() == pytest.approx(1, abs=1e-5)


def test_no_digit_is_in_both_splits() -> None:
    images: Any = load_images(DataConfig(name="digits"))
    train = {tuple(image.flatten().tolist()) for image, _ in images.train}
    val = {tuple(image.flatten().tolist()) for image, _ in images.val}
    assert not train & val


def test_imagefolder_gives_crops_and_labels(folder: Path) -> None:
    images = load_images(imagefolder(folder))
    assert (images.num_train, images.num_val, images.num_classes) == (12, 6, 3)
    assert images.input_shape == (3, 16, 16)
    (batch, labels), _ = training_loader(images, first_epoch(images, 6))
    assert batch.shape == (6, 3, 16, 16)
    assert batch.dtype == torch.float32
    # The red of a flat image tells its class, whatever the crop.
    red = ((batch[:, 0] * 0.229 + 0.485) * 255).mean(dim=(1, 2)).round().int().tolist()
    assert red == [RED[CLASSES[label]] for label in labels.tolist()]


def test_imagefolder_validation_is_in_order_and_repeatable(folder: Path) -> None:
    images = load_images(imagefolder(folder))
    batches = ValidationBatches(num_images=6, batch_size=4)
    first, again = (list(validation_loader(images, batches)) for _ in range(2))
    assert torch.cat([labels for _, labels in first]).tolist() == [0, 0, 1, 1, 2, 2]
    assert [len(labels) for _, labels in first] == [4, 2]
    for (one, _), (other, _) in zip(first, again, strict=True):
        assert torch.equal(one, other)


def remove_val(folder: Path) -> Path:
    (folder / "val").rename(folder.parent / f"{folder.name}_val")
    return folder


def empty_train(folder: Path) -> Path:
    (folder / "train").rename(folder / "moved")
    (folder / "train").mkdir()
    return folder


def class_without_images(folder: Path) -> Path:
    for image in (folder / "train" / "bee").iterdir():
        image.unlink()
    return folder


def other_class(folder: Path) -> Path:
    (folder / "val" / "cat").rename(folder / "val" / "dog")
    return folder


def a_file(folder: Path) -> Path:
    return folder / "train" / "ant" / "0.png"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: folder / "nowhere", "There is no such folder"),
        (a_file, "There is no such folder"),
        (remove_val, "imagefolder needs val/ with files in it"),
        (empty_train, "imagefolder needs train/ with files in it"),
        (class_without_images, "bee"),
        (other_class, r"differ in their classes: \['cat', 'dog'\]"),
    ],
    ids=["nowhere", "file", "no_val", "empty_train", "empty_class", "other_class"],
)
def test_a_wrong_imagefolder_is_told(damage: Any, message: str, folder: Path) -> None:
    with pytest.raises(SettingError, match=message) as caught:
        load_images(imagefolder(damage(folder)))
    assert caught.value.setting == "data.path"


@pytest.mark.parametrize("name", ["imagefolder", "cifar10"])
def test_a_path_that_is_not_set_is_told(name: str) -> None:
    with pytest.raises(SettingError, match=f"{name} needs the folder that holds") as caught:
        load_images(DataConfig(name=name))
    assert caught.value.setting == "data.path"


def test_an_unknown_data_set_is_told_with_the_known_ones() -> None:
    with pytest.raises(SettingError, match="'cifar10', 'digits', 'imagefolder'") as caught:
        load_images(DataConfig(name="mnist"))
    assert caught.value.setting == "data.name"


def test_a_cifar10_copy_without_its_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"cifar10 needs cifar-10-batches-py/") as caught:
        load_images(DataConfig(name="cifar10", path=tmp_path))
    assert caught.value.setting == "data.path"


def test_a_cifar10_copy_with_other_content_is_refused_by_its_checksum(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for name in names:
        batch = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1], "batch_label": name}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {"label_names": list("abcdefghij"), "num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    with pytest.raises(SettingError, match=r"CIFAR-10 files cannot be read.*corrupted") as caught:
        load_images(DataConfig(name="cifar10", path=tmp_path))
    assert caught.value.setting == "data.path"

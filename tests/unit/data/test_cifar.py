"""CIFAR opens from its authors' files, and missing or damaged ones are named."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from strsweep.config import DataConfig
from strsweep.data import TrainingBatches, check_data, load_data, training_loader
from strsweep.errors import SettingError

NUM_CLASSES = {"cifar10": 10, "cifar100": 100}
PER_FILE = 4


def files_of(name: str) -> tuple[type[CIFAR10], list[str]]:
    dataset = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    return dataset, [file for file, _ in [*dataset.train_list, *dataset.test_list]]


@pytest.fixture(params=["cifar10", "cifar100"])
def cifar(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> DataConfig:
    """Return a small CIFAR of the same format; only the expected checksums are replaced."""
    dataset, files = files_of(request.param)
    folder = tmp_path / dataset.base_folder
    folder.mkdir()
    num_classes = NUM_CLASSES[request.param]
    labels_key = "labels" if request.param == "cifar10" else "fine_labels"
    for number, file in enumerate(files):
        labels = [(number + step) % num_classes for step in range(PER_FILE)]
        pixels = np.repeat(np.array(labels, dtype=np.uint8)[:, None], 3072, axis=1)
        content = {"data": pixels, labels_key: labels}
        (folder / file).write_bytes(pickle.dumps(content, protocol=2))
    meta = {dataset.meta["key"]: [f"class {index}" for index in range(num_classes)]}
    (folder / dataset.meta["filename"]).write_bytes(pickle.dumps(meta, protocol=2))

    def md5(file: str) -> str:
        return hashlib.md5((folder / file).read_bytes()).hexdigest()

    train = [file for file, _ in dataset.train_list]
    test = [file for file, _ in dataset.test_list]
    monkeypatch.setattr(dataset, "train_list", [[file, md5(file)] for file in train])
    monkeypatch.setattr(dataset, "test_list", [[file, md5(file)] for file in test])
    meta_file = dataset.meta["filename"]
    monkeypatch.setattr(dataset, "meta", {**dataset.meta, "md5": md5(meta_file)})
    return DataConfig(name=request.param, path=tmp_path)


def test_cifar_opens_with_crops_flips_and_labels(cifar: DataConfig) -> None:
    check_data(cifar)
    images = load_data(cifar)
    assert cifar.name is not None
    _, files = files_of(cifar.name)
    num_train = PER_FILE * (len(files) - 1)
    assert (len(images.train), len(images.val)) == (num_train, PER_FILE)
    assert (images.num_classes, images.input_shape) == (NUM_CLASSES[cifar.name], (3, 32, 32))
    epoch = TrainingBatches(num_samples=num_train, batch_size=num_train, seed=0, epoch=0)
    ((batch, labels),) = training_loader(images.train, epoch)
    # The centre of a crop is never padding, and every pixel of an image is its label.
    mean, std = {"cifar10": (0.4914, 0.2470), "cifar100": (0.5071, 0.2673)}[cifar.name]
    values = ((batch[:, 0, 16, 16] * std + mean) * 255).round().long()
    assert torch.equal(values, labels)
    val: Any = images.val
    assert [label for _, label in val] == [len(files) - 1 + step for step in range(PER_FILE)]
    assert images.name("train", 2) == "train image 2"


def told(config: DataConfig) -> str:
    for open_or_check in (check_data, load_data):
        with pytest.raises(SettingError) as caught:
            open_or_check(config)
        assert caught.value.setting == "data.path"
    return caught.value.remedy


def test_missing_files_are_named(cifar: DataConfig) -> None:
    assert cifar.path is not None
    assert cifar.name is not None
    dataset, files = files_of(cifar.name)
    folder = cifar.path / dataset.base_folder
    (folder / files[-1]).unlink()
    (folder / dataset.meta["filename"]).unlink()
    expected = f"{folder.name}/ lacks {files[-1]}, {dataset.meta['filename']}: is the copy"
    assert expected in told(cifar)


@pytest.mark.parametrize("content", [b"", b"half a file", b"\x80\x02}q\x00."])
def test_damaged_files_are_named_and_never_unpickled(cifar: DataConfig, content: bytes) -> None:
    assert cifar.path is not None
    assert cifar.name is not None
    dataset, files = files_of(cifar.name)
    (cifar.path / dataset.base_folder / files[0]).write_bytes(content)
    remedy = told(cifar)
    assert "damaged or cut short" in remedy
    assert f"original's: {files[0]}. Copy" in remedy


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_folder_at_the_wrong_level_is_told(name: str, tmp_path: Path) -> None:
    dataset, files = files_of(name)
    remedy = told(DataConfig(name=name, path=tmp_path))
    assert f"{name} needs {dataset.base_folder}/ in this folder, with {files[0]}" in remedy
    inner = tmp_path / dataset.base_folder
    inner.mkdir()
    remedy = told(DataConfig(name=name, path=inner))
    assert f"Name the folder that holds {inner.name}/, not {inner.name}/ itself" in remedy
    inner.rmdir()
    (tmp_path / dataset.filename).write_bytes(b"x")
    assert f"Unpack {dataset.filename}" in told(DataConfig(name=name, path=tmp_path))

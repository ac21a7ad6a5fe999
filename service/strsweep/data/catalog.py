"""The data sets by name, how each is checked and opened; and a user's own function."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from strsweep.config import DataConfig
from strsweep.data.cifar import check_cifar, open_cifar
from strsweep.data.image_folders import check_image_folders, check_imagenet, open_image_folders
from strsweep.data.labelled import LabelledData
from strsweep.data.sequences import (
    open_har2,
    open_speech_commands,
    open_spoken_digits,
    sequence_data,
)
from strsweep.data.transforms import augmentation, in_words
from strsweep.errors import SettingError, blaming, nearest
from strsweep.imports import called, is_import_path
from strsweep.progress import printable

_DIGITS_FOR_TRAINING = 1400
_NUM_IMAGES, _NUM_CLASSES = 12_800, 1000
"""Of noise."""
_POOL = 128
"""Different images of noise; 77 MB of them at 224 pixels."""


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """How one data set is opened and checked."""

    open: Callable[[DataConfig], LabelledData]
    check: Callable[[DataConfig], object] | None = None
    """Looks at all files; opens none."""
    folder: str | None = None
    """What data.path must hold; None for a data set without files. Image files are augmented and
    normalized as they are decoded."""


def open_digits(_: DataConfig) -> LabelledData:
    """Open 1,797 digits of 8x8 pixels, shuffled once and for all, standardized."""
    # Importing scikit-learn takes longer than a run of them: its file is read as it reads it.
    spec = find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    file = Path(spec.origin).parent / "datasets/data/digits.csv.gz"
    rows = torch.from_numpy(np.loadtxt(file, delimiter=","))
    images, labels = rows[:, :-1].float().reshape(-1, 1, 8, 8) / 16, rows[:, -1].long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    train, val = slice(0, _DIGITS_FOR_TRAINING), slice(_DIGITS_FOR_TRAINING, None)
    images = (images - images[train].mean()) / images[train].std()
    return LabelledData(
        train=TensorDataset(images[train], labels[train]),
        val=TensorDataset(images[val], labels[val]),
        num_classes=10,
        input_shape=(1, 8, 8),
    )


def open_digits_rows(config: DataConfig) -> LabelledData:
    """Open scikit-learn's digits as 8 steps of 8 pixels, row by row; split as ``digits``."""
    digits = open_digits(config)
    parts = [data.tensors for data in (digits.train, digits.val)]
    train, val = ((list(images.squeeze(1)), labels) for images, labels in parts)
    return sequence_data(train, val, digits.num_classes)


class RepeatedImages(TensorDataset):
    """A pool of images, shown again and again until there are ``num_images`` of them."""

    def __init__(self, pool: Tensor, labels: Tensor, num_images: int) -> None:
        super().__init__(pool, labels)
        self._num_images = num_images

    def __len__(self) -> int:
        return self._num_images

    def __getitem__(self, index: int | list[int]) -> tuple[Tensor, ...]:
        return super().__getitem__(torch.as_tensor(index) % len(self.tensors[0]))


def open_synthetic(config: DataConfig) -> LabelledData:
    """Make normal noise from a fixed seed, to measure throughput; a tenth as many for validation.

    Labels are a function of the image, so a network can learn them by heart.
    """
    num_images = config.num_images or _NUM_IMAGES
    num_classes = config.num_classes or _NUM_CLASSES
    num_val = max(num_images // 10, 2)
    return LabelledData(
        train=_noise(num_images, num_classes, config.image_size, seed=0),
        val=_noise(num_val, num_classes, config.image_size, seed=1),
        num_classes=num_classes,
        input_shape=(3, config.image_size, config.image_size),
    )


def _noise(num_images: int, num_classes: int, size: int, *, seed: int) -> RepeatedImages:
    generator = torch.Generator().manual_seed(seed)
    pool = torch.randn(min(num_images, _POOL), 3, size, size, generator=generator)
    return RepeatedImages(pool, torch.arange(len(pool)) % num_classes, num_images)


_FOLDERS = "train/ and val/, each with a folder of images per class"
DATA_SETS = {
    "cifar10": DataSet(open=open_cifar, check=check_cifar, folder="cifar-10-batches-py/"),
    "cifar100": DataSet(open=open_cifar, check=check_cifar, folder="cifar-100-python/"),
    "digits": DataSet(open=open_digits),
    "digits_rows": DataSet(open=open_digits_rows),
    "har2": DataSet(open=open_har2, folder="train/ and test/ of UCI HAR Dataset"),
    "imagefolder": DataSet(open=open_image_folders, check=check_image_folders, folder=_FOLDERS),
    "imagenet": DataSet(open=open_image_folders, check=check_imagenet, folder=_FOLDERS),
    "speech_commands": DataSet(
        open=open_speech_commands, folder="a folder of wav files per word, as Google's data set"
    ),
    "spoken_digits": DataSet(open=open_spoken_digits),
    "synthetic": DataSet(open=open_synthetic),
}


def load_data(config: DataConfig) -> LabelledData:
    """Open the data set that ``config`` names.

    Every worker does this, so it looks at what it needs; ``check_data`` looks at every file.

    Raises:
        SettingError: The name is unknown, or the folder is not what the data set needs.
    """
    data_set = _find(config)
    with _reading(config, data_set):
        data = data_set.open(config)
    return augmented(config, data) if data_set.folder is None else data


def check_data(config: DataConfig) -> None:
    """Check the settings, and name and size of every file, without decoding images.

    Raises:
        SettingError: As ``load_data``; also if files are missing, empty or damaged. The message
            names them.
    """
    data_set = _find(config)
    if data_set.check is not None:
        with _reading(config, data_set):
            data_set.check(config)


@contextmanager
def _reading(config: DataConfig, data_set: DataSet) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if data_set.folder is None:
            raise
        told = f"{error.filename or config.path} cannot be read: {error.strerror or error}."
        remedy = printable(f"{told} data.path must hold {data_set.folder}.")
        raise SettingError("data.path", str(config.path), remedy) from error


def _find(config: DataConfig) -> DataSet:
    assert config.name is not None
    if is_import_path(config.name):
        return DataSet(open=open_own)
    data_set = DATA_SETS.get(config.name)
    if data_set is None:
        guess = nearest(config.name, DATA_SETS)
        remedy = f"{guess}Use one of {sorted(DATA_SETS)}, or package.module:function of your own."
        raise SettingError("data.name", config.name, remedy)
    _check_synthetic_only(config)
    if data_set.folder is None:
        return data_set
    if config.path is None:
        raise SettingError(
            "data.path", None, f"{config.name} needs the folder that holds {data_set.folder}."
        )
    if not config.path.is_dir():
        remedy = f"There is no such folder; it must hold {data_set.folder}."
        raise SettingError("data.path", str(config.path), remedy)
    return data_set


def _check_synthetic_only(config: DataConfig) -> None:
    for key in ("num_images", "num_classes"):
        value: int | None = getattr(config, key)
        if value is not None and config.name != "synthetic":
            raise SettingError(
                f"data.{key}", value, f"{config.name} has its own number: only synthetic takes it."
            )


class Augmented:
    """Labelled inputs, transformed one after the other; labels stay."""

    def __init__(self, data: Any, transforms: Sequence[Any]) -> None:
        self._data, self._transforms = data, transforms

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        value, label = self._data[index]
        for transform in self._transforms:
            value = transform(value)
        return value, label


def open_own(config: DataConfig) -> LabelledData:
    """Call the function that ``data.name`` names.

    Raises:
        SettingError: It cannot be called, or does not return two data sets of ``(input, label)``.
    """
    assert config.name is not None
    made: Any = called(config.name, "data.name", config.options)
    told = (
        "It must return a training and a validation data set, each with a length and with "
        "(input, label) for a number"
    )
    with blaming("data.name", config.name, told):
        train, val = made
        first, _ = train[0]
        _ = len(train), len(val), val[0]
    is_real = isinstance(first, Tensor) and first.is_floating_point()
    shape = tuple(first.shape) if is_real else None
    return LabelledData(
        train=train,
        val=val,
        num_classes=config.num_classes or _num_classes(config, train),
        input_shape=shape,
    )


def augmented(config: DataConfig, data: LabelledData) -> LabelledData:
    """Return ``data`` augmented as the settings say; for those that are tensors already.

    Raises:
        SettingError: There is no such augmentation, or the inputs are no square images.
    """
    name, shape = config.augment or "none", data.input_shape
    if name == "none":
        return data
    if shape is None or len(shape) != 3 or shape[1] != shape[2]:
        remedy = f"It is for square images, and the inputs have shape {shape}: augment in your own."
        raise SettingError("data.augment", name, remedy)
    return replace(
        data,
        train=Augmented(data.train, augmentation(name, shape[1])),
        preparation=f"training images are {in_words(name)}",
    )


def _num_classes(config: DataConfig, train: Any) -> int:
    for name, count in (("classes", len), ("targets", _largest), ("labels", _largest)):
        values = getattr(train, name, None)
        if values is not None:
            return count(values)
    remedy = f"Write how many classes {config.name} has: the data set has no attribute classes."
    raise SettingError("data.num_classes", None, remedy)


def _largest(labels: Any) -> int:
    return int(torch.as_tensor(labels).max()) + 1

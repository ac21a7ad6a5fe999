"""The datasets: images, labels, number of classes and shape of one input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, TensorDataset

from strsweep.config import DataConfig, Experiment
from strsweep.errors import SettingError

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, per channel
_CIFAR_MEAN, _CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


@dataclass(frozen=True, kw_only=True)
class Images:
    """A labelled data set, split for training and validation."""

    train: Dataset[Any]
    """Yields ``(image, label)``; image of shape ``input_shape``, float32."""
    val: Dataset[Any]
    num_train: int
    num_val: int
    num_classes: int
    input_shape: tuple[int, int, int]
    """Channels, height, width."""


def load_images(config: DataConfig) -> Images:
    """Open the data set that ``config`` names.

    Raises:
        SettingError: The name is unknown, or the folder is not what the data set needs.
    """
    check_data(config)
    return _DATASETS[config.name](config)


def check_data(config: DataConfig) -> None:
    """Check name and folder without opening the images.

    Raises:
        SettingError: As ``load_images``.
    """
    if config.name not in _DATASETS:
        raise SettingError("data.name", config.name, f"Use one of {sorted(_DATASETS)}.")
    expected = _EXPECTED[config.name]
    if not expected:
        return
    if config.path is None:
        raise SettingError(
            "data.path", None, f"{config.name} needs the folder that holds {expected}."
        )
    if not config.path.is_dir():
        raise SettingError(
            "data.path", str(config.path), f"There is no such folder; it must hold {expected}."
        )
    for name in expected:
        _check_folder(config, config.path / name)


def check_batch_size(experiment: Experiment, images: Images) -> None:
    """Check that an epoch has at least one step.

    Raises:
        SettingError: The data set is smaller than one batch.
    """
    if images.num_train < experiment.training.batch_size:
        raise SettingError(
            "training.batch_size",
            experiment.training.batch_size,
            f"{experiment.data.name} has {images.num_train} training images, fewer than one batch: "
            "use a smaller batch.",
        )


def _check_folder(config: DataConfig, folder: Path) -> None:
    if not folder.is_dir() or not any(folder.iterdir()):
        raise SettingError(
            "data.path",
            str(config.path),
            f"{config.name} needs {folder.name}/ with files in it inside this folder: "
            "is the copy complete?",
        )


def _digits(_: DataConfig) -> Images:
    from sklearn.datasets import load_digits  # two seconds of import that others do not need

    digits: Any = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
    labels = torch.from_numpy(digits.target).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    train, val = slice(0, 1400), slice(1400, None)
    images = (images - images[train].mean()) / images[train].std()
    return Images(
        train=TensorDataset(images[train], labels[train]),
        val=TensorDataset(images[val], labels[val]),
        num_train=1400,
        num_val=len(images) - 1400,
        num_classes=10,
        input_shape=(1, 8, 8),
    )


def _cifar10(config: DataConfig) -> Images:
    from torchvision.datasets import CIFAR10
    from torchvision.transforms import v2

    plain = [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(_CIFAR_MEAN, _CIFAR_STD),
    ]
    augmented = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), *plain]
    try:
        train = CIFAR10(str(config.path), train=True, transform=v2.Compose(augmented))
        val = CIFAR10(str(config.path), train=False, transform=v2.Compose(plain))
    except (RuntimeError, OSError) as error:
        raise SettingError(
            "data.path", str(config.path), f"The CIFAR-10 files cannot be read: {error}"
        ) from error
    return Images(
        train=train,
        val=val,
        num_train=len(train),
        num_val=len(val),
        num_classes=10,
        input_shape=(3, 32, 32),
    )


def _imagefolder(config: DataConfig) -> Images:
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    size = config.image_size
    plain = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(_MEAN, _STD)]
    augmented = [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), *plain]
    centred = [v2.Resize(size * 256 // 224), v2.CenterCrop(size), *plain]
    assert config.path is not None
    try:
        train = ImageFolder(str(config.path / "train"), v2.Compose(augmented))
        val = ImageFolder(str(config.path / "val"), v2.Compose(centred))
    except (FileNotFoundError, OSError) as error:
        raise SettingError("data.path", str(config.path), str(error)) from error
    if train.classes != val.classes:
        odd = sorted(set(train.classes) ^ set(val.classes))
        raise SettingError(
            "data.path", str(config.path), f"train/ and val/ differ in their classes: {odd[:5]}."
        )
    return Images(
        train=train,
        val=val,
        num_train=len(train),
        num_val=len(val),
        num_classes=len(train.classes),
        input_shape=(3, size, size),
    )


_DATASETS: dict[str, Callable[[DataConfig], Images]] = {
    "digits": _digits,
    "cifar10": _cifar10,
    "imagefolder": _imagefolder,
}
_EXPECTED: dict[str, list[str]] = {
    "digits": [],
    "cifar10": ["cifar-10-batches-py"],
    "imagefolder": ["train", "val"],
}

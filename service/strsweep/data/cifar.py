"""CIFAR-10 and CIFAR-100, from the files of their authors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from strsweep.config import DataConfig
from strsweep.data.images import Images
from strsweep.errors import SettingError

_NUM_CLASSES = {"cifar10": 10, "cifar100": 100}
_STATISTICS = {
    # Mean and standard deviation per channel, over the training images.
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


def check_cifar(config: DataConfig) -> None:
    """Check that every file is there and is the original, by torchvision's checksums.

    Raises:
        SettingError: Files are missing or differ; the message names them.
    """
    from torchvision.datasets.utils import check_integrity

    assert config.path is not None
    dataset = _torchvision_dataset(config.name)
    folder = config.path / dataset.base_folder
    files: dict[str, str] = dict([*dataset.train_list, *dataset.test_list])
    files[dataset.meta["filename"]] = dataset.meta["md5"]
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise SettingError("data.path", str(config.path), _missing(config, folder, missing))
    damaged = [name for name, md5 in files.items() if not check_integrity(str(folder / name), md5)]
    if damaged:
        raise SettingError(
            "data.path",
            str(config.path),
            f"In {folder.name}/ these files are damaged or cut short, their checksum is not the "
            f"original's: {', '.join(damaged)}. Copy them again.",
        )


def open_cifar(config: DataConfig) -> Images:
    """Open CIFAR with the usual augmentation: crops of the image padded by 4, and flips.

    The files are pickles: torchvision opens them only if their checksums are the original's.

    Raises:
        SettingError: The files are not what they should be.
    """
    from torchvision.transforms import v2

    check_cifar(config)
    plain = [
        v2.ToImage(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(*_STATISTICS[config.name]),
    ]
    augmented = [v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), *plain]
    dataset, path = _torchvision_dataset(config.name), str(config.path)
    train = dataset(path, train=True, transform=v2.Compose(augmented))
    val = dataset(path, train=False, transform=v2.Compose(plain))
    return Images(
        train=train,
        val=val,
        num_train=len(train),
        num_val=len(val),
        num_classes=_NUM_CLASSES[config.name],
        input_shape=(3, 32, 32),
    )


def _torchvision_dataset(name: str) -> Any:
    from torchvision.datasets import CIFAR10, CIFAR100

    return {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]


def _missing(config: DataConfig, folder: Path, missing: list[str]) -> str:
    assert config.path is not None
    archive: str = _torchvision_dataset(config.name).filename
    if folder.is_dir():
        return f"{folder.name}/ lacks {', '.join(missing)}: is the copy complete?"
    if config.path.name == folder.name:
        return f"Name the folder that holds {folder.name}/, not {folder.name}/ itself."
    if (config.path / archive).is_file():
        return f"Unpack {archive} in this folder: {config.name} needs {folder.name}/."
    return f"{config.name} needs {folder.name}/ in this folder, with {', '.join(missing)}."

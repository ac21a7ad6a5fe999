"""CIFAR-10 and CIFAR-100, from the files of their authors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from strsweep.config import DataConfig
from strsweep.data.labelled import LabelledData
from strsweep.data.transforms import transforms_of
from strsweep.errors import SettingError

_SIZE = 32
_NUM_CLASSES = {"cifar10": 10, "cifar100": 100}


def check_cifar(config: DataConfig) -> None:
    """Raise ``SettingError`` unless every file is the original, by torchvision's checksums."""
    from torchvision.datasets.utils import check_integrity

    assert config.path is not None
    dataset = _torchvision_dataset(config)
    folder = config.path / dataset.base_folder
    files: dict[str, str] = dict([*dataset.train_list, *dataset.test_list])
    files[dataset.meta["filename"]] = dataset.meta["md5"]
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise SettingError("data.path", str(config.path), _missing(config, folder, missing))
    damaged = [name for name, md5 in files.items() if not check_integrity(str(folder / name), md5)]
    if damaged:
        remedy = (
            f"In {folder.name}/ these files are damaged or cut short, their checksum is not the "
            f"original's: {', '.join(damaged)}. Copy them again."
        )
        raise SettingError("data.path", str(config.path), remedy)


def open_cifar(config: DataConfig) -> LabelledData:
    """Open CIFAR, by default shifted by up to 4 pixels and flipped, as is usual.

    The files are pickles: torchvision opens them only if their checksums are the original's.

    Raises:
        SettingError: The files are not what they should be.
    """
    check_cifar(config)
    resized = config.model_copy(update={"image_size": _SIZE, "channels": 3})
    transforms = transforms_of(resized, augment="cifar", normalize=config.name or "")
    dataset, path = _torchvision_dataset(config), str(config.path)
    return LabelledData(
        train=dataset(path, train=True, transform=transforms.train),
        val=dataset(path, train=False, transform=transforms.val),
        num_classes=_NUM_CLASSES[config.name or ""],
        input_shape=(3, _SIZE, _SIZE),
        preparation=transforms.words,
    )


def _torchvision_dataset(config: DataConfig) -> Any:
    from torchvision.datasets import CIFAR10, CIFAR100

    return {"cifar10": CIFAR10, "cifar100": CIFAR100}[config.name or ""]


def _missing(config: DataConfig, folder: Path, missing: list[str]) -> str:
    assert config.path is not None
    archive: str = _torchvision_dataset(config).filename
    if folder.is_dir():
        return f"{folder.name}/ lacks {', '.join(missing)}: is the copy complete?"
    if config.path.name == folder.name:
        return f"Name the folder that holds {folder.name}/, not {folder.name}/ itself."
    if (config.path / archive).is_file():
        return f"Unpack {archive} in this folder: {config.name} needs {folder.name}/."
    return f"{config.name} needs {folder.name}/ in this folder, with {', '.join(missing)}."

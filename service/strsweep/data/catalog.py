"""The data sets by name: how each is checked and opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from strsweep.config import DataConfig
from strsweep.data.built_in import open_digits, open_synthetic
from strsweep.data.cifar import check_cifar, open_cifar
from strsweep.data.folder_check import check_image_folders
from strsweep.data.image_folders import check_imagenet, open_image_folders
from strsweep.data.labelled import LabelledData
from strsweep.data.own import augmented, open_own
from strsweep.errors import SettingError
from strsweep.imports import is_import_path


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """How one data set is opened and checked."""

    open: Callable[[DataConfig], LabelledData]
    check: Callable[[DataConfig], object] | None = None
    """Looks at all files; opens none."""
    folder: str | None = None
    """What data.path must hold; None for a data set without files. Image files are augmented and
    normalized as they are decoded."""


_FOLDERS = "train/ and val/, each with a folder of images per class"
DATA_SETS = {
    "cifar10": DataSet(open=open_cifar, check=check_cifar, folder="cifar-10-batches-py/"),
    "cifar100": DataSet(open=open_cifar, check=check_cifar, folder="cifar-100-python/"),
    "digits": DataSet(open=open_digits),
    "imagefolder": DataSet(open=open_image_folders, check=check_image_folders, folder=_FOLDERS),
    "imagenet": DataSet(open=open_image_folders, check=check_imagenet, folder=_FOLDERS),
    "synthetic": DataSet(open=open_synthetic),
}


def load_data(config: DataConfig) -> LabelledData:
    """Open the data set that ``config`` names.

    Every worker does this, so it looks at what it needs; ``check_data`` looks at every file.

    Raises:
        SettingError: The name is unknown, or the folder is not what the data set needs.
    """
    data_set = _find(config)
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
        data_set.check(config)


def _find(config: DataConfig) -> DataSet:
    assert config.name is not None
    if is_import_path(config.name):
        return DataSet(open=open_own)
    data_set = DATA_SETS.get(config.name)
    if data_set is None:
        remedy = f"Use one of {sorted(DATA_SETS)}, or package.module:function of your own."
        raise SettingError("data.name", config.name, remedy)
    _check_synthetic_only(config)
    if data_set.folder is None:
        return data_set
    if config.path is None:
        raise SettingError(
            "data.path", None, f"{config.name} needs the folder that holds {data_set.folder}."
        )
    if not config.path.is_dir():
        raise SettingError(
            "data.path",
            str(config.path),
            f"There is no such folder; it must hold {data_set.folder}.",
        )
    return data_set


def _check_synthetic_only(config: DataConfig) -> None:
    for key in ("num_images", "num_classes"):
        value: int | None = getattr(config, key)
        if value is not None and config.name != "synthetic":
            raise SettingError(
                f"data.{key}", value, f"{config.name} has its own number: only synthetic takes it."
            )

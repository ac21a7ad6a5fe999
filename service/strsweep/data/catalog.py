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
    augments_itself: bool = False
    """It reads image files, and applies ``data.augment`` and ``data.normalize`` itself."""
    folder: str | None = None
    """What data.path must hold; None for a data set without files."""


_FOLDERS = "train/ and val/, each with a folder of images per class"
_FOLDERS_OF = {
    "cifar10": (open_cifar, check_cifar, "cifar-10-batches-py/"),
    "cifar100": (open_cifar, check_cifar, "cifar-100-python/"),
    "imagefolder": (open_image_folders, check_image_folders, _FOLDERS),
    "imagenet": (open_image_folders, check_imagenet, _FOLDERS),
}
DATA_SETS = {
    "digits": DataSet(open=open_digits),
    "synthetic": DataSet(open=open_synthetic),
    **{
        name: DataSet(open=opens, check=check, folder=folder, augments_itself=True)
        for name, (opens, check, folder) in _FOLDERS_OF.items()
    },
}


def load_data(config: DataConfig) -> LabelledData:
    """Open the data set that ``config`` names.

    Every worker does this, so it looks at what it needs; ``check_data`` looks at every file.

    Raises:
        SettingError: The name is unknown, or the folder is not what the data set needs.
    """
    data_set = _find(config)
    data = data_set.open(config)
    return data if data_set.augments_itself else augmented(config, data)


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
        return DataSet(open=open_own, augments_itself=True)
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

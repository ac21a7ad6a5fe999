"""Image folders: ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg``; ImageNet is one of them."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from strsweep.config import DataConfig
from strsweep.data.folder_check import check_image_folders, is_visible
from strsweep.data.labelled import ImageFiles, LabelledData
from strsweep.data.transforms import transforms_of
from strsweep.errors import SettingError

_FILES_READ, _BYTES_READ = 100, 4096
"""Reading a million files takes minutes on every start."""
_IMAGENET_CLASSES, _IMAGENET_SIZE = 1000, 224


def check_imagenet(config: DataConfig) -> None:
    """Check what ``check_image_folders`` checks, and that it is ImageNet as the paper uses it.

    Raises:
        SettingError: There are not 1000 classes, or the images are wanted in another size.
    """
    if config.image_size != _IMAGENET_SIZE:
        raise SettingError(
            "data.image_size",
            config.image_size,
            f"imagenet is trained at {_IMAGENET_SIZE} pixels: use data.name imagefolder for "
            "another size.",
        )
    num_classes = check_image_folders(config)
    if num_classes != _IMAGENET_CLASSES:
        raise SettingError(
            "data.path",
            str(config.path),
            f"imagenet needs {_IMAGENET_CLASSES} class folders in train/, there are {num_classes}: "
            "is the copy complete? Use data.name imagefolder for other images.",
        )


def open_image_folders(config: DataConfig) -> LabelledData:
    """Open train/ and val/, by default with the paper's augmentation (its section 4.1.1).

    Raises:
        SettingError: The folders cannot be read, or differ in their classes.
    """
    transforms = transforms_of(config, augment="imagenet", normalize="imagenet")
    size, channels = config.image_size, config.channels
    assert config.path is not None
    try:
        train, val = (_listed(config.path / split) for split in ("train", "val"))
    except OSError as error:
        raise SettingError("data.path", str(config.path), str(error)) from error
    if train.classes != val.classes:
        raise SettingError("data.path", str(config.path), "train/ and val/ differ in classes.")
    return LabelledData(
        train=ImageFiles(train.samples, transforms.train, size, channels),
        val=ImageFiles(val.samples, transforms.val, size, channels),
        num_classes=len(train.classes),
        input_shape=(channels, size, size),
        preparation=transforms.words,
        fingerprint=partial(_fingerprint, config.path, [*train.samples, *val.samples]),
    )


def _fingerprint(folder: Path, samples: list[tuple[str, int]]) -> str:
    """Return a fingerprint of the names of all files, and of the beginnings of some."""
    digest = hashlib.sha256()
    every = max(len(samples) // _FILES_READ, 1)
    for number, (path, label) in enumerate(samples):
        digest.update(os.fsencode(f"{os.path.relpath(path, folder)}\0{label}\n"))
        if number % every == 0:
            # One that cannot be read is told when it is needed.
            with suppress(OSError), Path(path).open("rb") as file:
                digest.update(file.read(_BYTES_READ))
    return digest.hexdigest()[:8]


def _listed(folder: Path) -> Any:
    """Return torchvision's list of the classes and images in ``folder``, hidden files left out."""
    from torchvision.datasets import ImageFolder
    from torchvision.datasets.folder import IMG_EXTENSIONS, has_file_allowed_extension

    class VisibleFolder(ImageFolder):
        def find_classes(self, directory: Any) -> tuple[list[str], dict[str, int]]:
            classes, _ = super().find_classes(directory)
            visible = [name for name in classes if is_visible(name)]
            return visible, {name: index for index, name in enumerate(visible)}

    def is_image(path: str) -> bool:
        return is_visible(Path(path).name) and has_file_allowed_extension(path, IMG_EXTENSIONS)

    return VisibleFolder(str(folder), is_valid_file=is_image)

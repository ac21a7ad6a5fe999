"""Image folders: ``train/CLASS/*.jpg`` and ``val/CLASS/*.jpg``; ImageNet is one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from strsweep.config import DataConfig
from strsweep.data.folder_check import check_image_folders, is_visible
from strsweep.data.images import ImageFiles, Images
from strsweep.errors import SettingError

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, per channel
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


def open_image_folders(config: DataConfig) -> Images:
    """Open train/ and val/ with the paper's augmentation (its section 4.1.1, torchvision's names).

    Training images are cropped at random, resized and flipped; validation images are resized by
    256/224 of the crop and cropped in the centre.

    Raises:
        SettingError: The folders cannot be read, or differ in their classes.
    """
    from torchvision.transforms import v2

    size = config.image_size
    plain = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(_MEAN, _STD)]
    augmented = [v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), *plain]
    centred = [v2.Resize(size * 256 // 224), v2.CenterCrop(size), *plain]
    assert config.path is not None
    try:
        train, val = (_listed(config.path / split) for split in ("train", "val"))
    except OSError as error:
        raise SettingError("data.path", str(config.path), str(error)) from error
    if train.classes != val.classes:
        raise SettingError("data.path", str(config.path), "train/ and val/ differ in classes.")
    return Images(
        train=ImageFiles(train.samples, v2.Compose(augmented), size),
        val=ImageFiles(val.samples, v2.Compose(centred), size),
        num_train=len(train),
        num_val=len(val),
        num_classes=len(train.classes),
        input_shape=(3, size, size),
    )


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

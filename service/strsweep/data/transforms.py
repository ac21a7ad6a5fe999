"""What happens to an image: cropped, flipped or shifted in training, and normalized."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from strsweep.config import DataConfig
from strsweep.errors import SettingError, nearest
from strsweep.imports import imported, is_import_path

AUGMENTATIONS = {
    "imagenet": "a random crop of 8 to 100 % of the image, resized, and flipped half of the time",
    "cifar": "shifted by up to an eighth of the side, and flipped half of the time",
    "shift": "shifted by up to an eighth of the side",
    "none": "not augmented",
}
_NORMALIZATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "symmetric": ((0.5,), (0.5,)),
    "none": ((0.0,), (1.0,)),
}
"""Mean and standard deviation per channel of pixels in [0, 1]; those of the data sets are over
their training images."""


@dataclass(frozen=True, kw_only=True)
class Transforms:
    """What the images of a data set go through."""

    train: Callable[[Any], Tensor]
    """Makes a float32 tensor of shape [channels, size, size] of a decoded image."""
    val: Callable[[Any], Tensor]
    words: str
    """The same, for a person."""


def transforms_of(config: DataConfig, *, augment: str, normalize: str) -> Transforms:
    """Return the transforms of image files.

    ``augment`` and ``normalize`` are those of the data set; what ``config`` says goes before.

    Raises:
        SettingError: A name is unknown, or the numbers are not one per channel.
    """
    from torchvision.transforms import v2

    size, augment = config.image_size, config.augment or augment
    mean, std, norm = _normalization(config, normalize)
    plain = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
    first = centred = [v2.Resize((size, size), antialias=True)]
    cut = "resized"
    if augment == "imagenet":  # it crops before it resizes
        first, centred = [], [v2.Resize(size * 256 // 224), v2.CenterCrop(size)]
        cut = "resized by 256/224, cut out in the centre"
    words = f"training images are {in_words(augment)}; validation images {cut}"
    return Transforms(
        train=v2.Compose([*first, *augmentation(augment, size), *plain]),
        val=v2.Compose([*centred, *plain]),
        words=f"{words}; to {size} x {size}; {norm}",
    )


def in_words(name: str) -> str:
    """Return what an augmentation does to an image, for a person."""
    return AUGMENTATIONS.get(name, f"augmented by {name}")


def augmentation(name: str, size: int) -> list[Any]:
    """Return what an image is augmented by; images of [channels, size, size] keep their size.

    Raises:
        SettingError: There is no such augmentation.
    """
    from torchvision.transforms import v2

    if is_import_path(name):
        return [imported(name, "data.augment")]
    if name not in AUGMENTATIONS:
        remedy = f"Use one of {', '.join(AUGMENTATIONS)}, or package.module:transform."
        remedy = nearest(name, AUGMENTATIONS) + remedy
        raise SettingError("data.augment", name, remedy)
    shift, flip = v2.RandomCrop(size, padding=max(size // 8, 1)), v2.RandomHorizontalFlip()
    crop = v2.RandomResizedCrop(size)
    return {"imagenet": [crop, flip], "cifar": [shift, flip], "shift": [shift], "none": []}[name]


def _normalization(config: DataConfig, name: str) -> tuple[list[float], list[float], str]:
    channels = config.channels
    given = config.normalize or (name if channels == 3 else "symmetric")
    if isinstance(given, str):
        if given not in _NORMALIZATIONS:
            remedy = f"Use one of {', '.join(_NORMALIZATIONS)}, or {{mean: [...], std: [...]}}."
            remedy = nearest(given, _NORMALIZATIONS) + remedy
            raise SettingError("data.normalize", given, remedy)
        mean, std = _NORMALIZATIONS[given]
    else:
        mean, std = given.mean, given.std
    widths = {len(mean), len(std)}
    if widths - {1, channels}:
        remedy = f"Give one number, or one for each of the {channels} channels."
        raise SettingError(
            "data.normalize", given if isinstance(given, str) else str(given), remedy
        )
    shown = given if isinstance(given, str) else f"mean {list(mean)}, std {list(std)}"
    spread = [channels // len(values) for values in (mean, std)]
    return [*mean] * spread[0], [*std] * spread[1], f"normalized by {shown}"

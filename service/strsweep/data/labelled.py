"""Labelled data, split for training and validation; images may be files that are damaged.

A bad file must not end a run of days: an image that cannot be read enters its batch as zeros with
the label ``-1 - index``. The task gives it no loss, and can name its file:
``data.name(split, index)``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from strsweep.progress import printable

_FEWER_BITS = 2**12
"""Of the 16 levels that the upper 8 of 16 bits leave below it, a picture would be nearly black."""


@dataclass(frozen=True, kw_only=True)
class LabelledData:
    """Inputs with labels, split for training and validation."""

    train: Any
    """Gives ``(input, label)`` for a number from 0 on, and has a length; images are float32. The
    label of an image that cannot be read is negative."""
    val: Any
    num_classes: int
    input_shape: tuple[int, ...] | None = None
    """Of one input; None if it must be looked at."""
    is_sequence: bool = False
    """Samples are ``(input, steps, label)``: sequences, padded at their end."""
    preparation: str = "used as they are"
    """What happens to an input before the network sees it, in words."""
    fingerprint: Callable[[], str] | None = None
    """Returns one of the names of all files, and of what some hold; None without files."""

    def name(self, split: str, index: int) -> str:
        """Return what a person can find input ``index`` by: its file, or its number."""
        dataset = self.train if split == "train" else self.val
        if not isinstance(dataset, ImageFiles):
            return f"{split} image {index}"
        return printable(dataset.path(index))

    def reason(self, split: str, index: int) -> str:
        """Return why input ``index`` cannot be read, in the words of the reader; "" if it can."""
        dataset = self.train if split == "train" else self.val
        return dataset.reason(index) if isinstance(dataset, ImageFiles) else ""

    def describe(self) -> str:
        """Return counts and classes, the fingerprint of files, and what happens to an image."""
        counts = f"{len(self.train):,} training and {len(self.val):,} validation inputs"
        files = f", files {self.fingerprint()}" if self.fingerprint else ""
        return f"{counts} of {self.num_classes:,} classes{files}; {self.preparation}"


class ImageFiles(Dataset[Any]):
    """Decodes image files one by one.

    Args:
        samples: Path and label of every image.
        transform: Makes a float32 tensor of shape [channels, size, size] of a decoded image.
        size: Side of the square images in pixels.
        channels: 3, or 1 for gray images.
    """

    def __init__(
        self,
        samples: Sequence[tuple[str, int]],
        transform: Callable[[Any], Tensor],
        size: int,
        channels: int = 3,
    ) -> None:
        # Arrays, because a million Python objects would be copied into every loader process:
        # counting references writes to the pages that the processes share.
        self._paths = np.array([os.fsencode(path) for path, _ in samples])
        self._labels = np.array([label for _, label in samples], dtype=np.int64)
        self._transform = transform
        self._shape = channels, size, size

    def __len__(self) -> int:
        return len(self._labels)

    def path(self, index: int) -> str:
        """Return the file of image ``index``."""
        return os.fsdecode(self._paths[index])

    def reason(self, index: int) -> str:
        """Return why image ``index`` cannot be read; "" if it can, or the file is missing."""
        try:
            decode(self.path(index), self._shape[0])
        except FileNotFoundError:
            return ""
        except Exception as error:  # as below
            return printable(getattr(error, "strerror", None) or str(error))
        return ""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        try:
            image = decode(self.path(index), self._shape[0])
        except Exception:  # Pillow raises what the file happens to break
            return torch.zeros(self._shape), unreadable_label(index)
        return self._transform(image), int(self._labels[index])


def unreadable_label(index: int) -> int:
    """Return the label of image ``index`` if it cannot be read; always negative."""
    return -1 - index


def unreadable_indices(labels: Tensor) -> list[int]:
    """Return the image numbers of the entries of ``labels``, shape [N], that were not read."""
    return (-1 - labels[labels < 0]).tolist()


def decode(path: Path | str, channels: int = 3) -> Image.Image:
    """Read an image file as RGB, or as gray if ``channels`` is 1, with 8 bits a channel.

    Transparent parts become white, as they look on a page. Of 16 bits the upper 8 are kept:
    Pillow's own conversion would clip them to white.

    Raises:
        ValueError: The pixels are floats, or 12 bits in 16: nobody knows their range.
        Exception: Whatever Pillow finds wrong with the file, mostly ``OSError``.
    """
    with warnings.catch_warnings():
        # Damaged EXIF says nothing about the pixels; ImageNet has hundreds of such files.
        warnings.simplefilter("ignore", UserWarning)
        with Image.open(path) as image:
            return _rgb(image).convert({1: "L", 3: "RGB"}[channels])


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("the pixels are floats: convert the file to 8 bits")
    if image.mode.startswith("I"):
        pixels = np.asarray(image).clip(0, 65535)
        if pixels.min() < pixels.max() < _FEWER_BITS:
            raise ValueError(
                f"the brightest of its 16-bit pixels is {pixels.max()}, as of cameras with 12 bits "
                "or fewer: convert the file to 8 bits"
            )
        return Image.fromarray((pixels // 256).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(page, image).convert("RGB")
    return image.convert("RGB")

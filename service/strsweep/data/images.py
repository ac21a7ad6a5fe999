"""A labelled data set, split for training and validation; its images may be files that are damaged.

A bad file must not end a run of days: an image that cannot be read enters its batch as zeros with
the label ``-1 - index``. The loop that gets the batch gives it no loss, counts it, and can name its
file: ``images.name(split, index)``.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

Split = Literal["train", "val"]


@dataclass(frozen=True, kw_only=True)
class Images:
    """A labelled data set, split for training and validation."""

    train: Dataset[Any]
    """Yields ``(image, label)``; image of shape ``input_shape``, float32. The label of an image
    that cannot be read is negative."""
    val: Dataset[Any]
    num_train: int
    num_val: int
    num_classes: int
    input_shape: tuple[int, int, int]
    """Channels, height, width."""

    def name(self, split: Split, index: int) -> str:
        """Return what a person can find image ``index`` by: its file, or its number."""
        dataset = self.train if split == "train" else self.val
        return dataset.path(index) if isinstance(dataset, ImageFiles) else f"{split} image {index}"


class ImageFiles(Dataset[Any]):
    """Decodes image files one by one.

    Args:
        samples: Path and label of every image.
        transform: Makes a float32 tensor of shape [3, size, size] of a decoded image.
        size: Side of the square images in pixels.
    """

    def __init__(
        self,
        samples: Sequence[tuple[str, int]],
        transform: Callable[[Any], Tensor],
        size: int,
    ) -> None:
        # Arrays, because a million Python objects would be copied into every loader process:
        # counting references writes to the pages that the processes share.
        self._paths = np.array([os.fsencode(path) for path, _ in samples])
        self._labels = np.array([label for _, label in samples], dtype=np.int64)
        self._transform = transform
        self._size = size

    def __len__(self) -> int:
        return len(self._labels)

    def path(self, index: int) -> str:
        """Return the file of image ``index``."""
        return os.fsdecode(self._paths[index])

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        try:
            image = decode_rgb(self.path(index))
        except Exception:  # Pillow raises what the file happens to break
            return torch.zeros(3, self._size, self._size), unreadable_label(index)
        return self._transform(image), int(self._labels[index])


def unreadable_label(index: int) -> int:
    """Return the label of image ``index`` if it cannot be read; always negative."""
    return -1 - index


def unreadable_indices(labels: Tensor) -> list[int]:
    """Return the image numbers of the entries of ``labels``, shape [N], that were not read."""
    return (-1 - labels[labels < 0]).tolist()


def decode_rgb(path: Path | str) -> Image.Image:
    """Read an image file as RGB with 8 bits a channel.

    Transparent parts become white, as they look on a page. Of 16 bits the upper 8 are kept:
    Pillow's own conversion would clip them to white.

    Raises:
        ValueError: The pixels are floats, whose range nobody knows.
        Exception: Whatever Pillow finds wrong with the file, mostly ``OSError``.
    """
    with warnings.catch_warnings():
        # Damaged EXIF says nothing about the pixels; ImageNet has hundreds of such files.
        warnings.simplefilter("ignore", UserWarning)
        with Image.open(path) as image:
            return _rgb(image)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("the pixels are floats: convert the file to 8 bits")
    if image.mode.startswith("I"):
        upper = (np.asarray(image).clip(0, 65535) // 256).astype(np.uint8)
        return Image.fromarray(upper).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        page = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(page, image).convert("RGB")
    return image.convert("RGB")

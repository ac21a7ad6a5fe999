"""Labelled image files as a data set that survives files that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from strsweep.data.decoding import decode_rgb
from strsweep.data.unreadable import unreadable_label


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

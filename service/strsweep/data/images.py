"""A labelled data set, split for training and validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch.utils.data import Dataset

from strsweep.data.image_files import ImageFiles

Split = Literal["train", "val"]


@dataclass(frozen=True, kw_only=True)
class Images:
    """A labelled data set, split for training and validation."""

    train: Dataset[Any]
    """Yields ``(image, label)``; image of shape ``input_shape``, float32. The label of an image
    that cannot be read is negative (``strsweep.data.unreadable``)."""
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

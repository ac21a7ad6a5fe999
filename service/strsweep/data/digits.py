"""The handwritten digits that ship with scikit-learn."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import TensorDataset

from strsweep.config import DataConfig
from strsweep.data.images import Images

_NUM_TRAIN = 1400


def open_digits(_: DataConfig) -> Images:
    """Open 1,797 digits of 8x8 pixels, shuffled once and for all, standardized."""
    from sklearn.datasets import load_digits  # two seconds of import that others do not need

    digits: Any = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
    labels = torch.from_numpy(digits.target).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    train, val = slice(0, _NUM_TRAIN), slice(_NUM_TRAIN, None)
    images = (images - images[train].mean()) / images[train].std()
    return Images(
        train=TensorDataset(images[train], labels[train]),
        val=TensorDataset(images[val], labels[val]),
        num_train=_NUM_TRAIN,
        num_val=len(images) - _NUM_TRAIN,
        num_classes=10,
        input_shape=(1, 8, 8),
    )

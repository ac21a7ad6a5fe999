"""Data sets without files: the digits that ship with scikit-learn, and noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from strsweep.config import DataConfig
from strsweep.data.labelled import LabelledData

_DIGITS_FOR_TRAINING = 1400
_NUM_IMAGES, _NUM_CLASSES = 12_800, 1000
"""Of noise."""
_POOL = 128
"""Different images of noise; 77 MB of them at 224 pixels."""


def open_digits(_: DataConfig) -> LabelledData:
    """Open 1,797 digits of 8x8 pixels, shuffled once and for all, standardized."""
    from sklearn.datasets import load_digits  # two seconds of import that others do not need

    digits: Any = load_digits()
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / 16
    labels = torch.from_numpy(digits.target).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    train, val = slice(0, _DIGITS_FOR_TRAINING), slice(_DIGITS_FOR_TRAINING, None)
    images = (images - images[train].mean()) / images[train].std()
    return LabelledData(
        train=TensorDataset(images[train], labels[train]),
        val=TensorDataset(images[val], labels[val]),
        num_classes=10,
        input_shape=(1, 8, 8),
    )


class RepeatedImages(TensorDataset):
    """A pool of images, shown again and again until there are ``num_images`` of them."""

    def __init__(self, pool: Tensor, labels: Tensor, num_images: int) -> None:
        super().__init__(pool, labels)
        self._num_images = num_images

    def __len__(self) -> int:
        return self._num_images

    def __getitem__(self, index: int | list[int]) -> tuple[Tensor, ...]:
        return super().__getitem__(torch.as_tensor(index) % len(self.tensors[0]))


def open_synthetic(config: DataConfig) -> LabelledData:
    """Make normal noise from a fixed seed, to measure throughput; a tenth as many for validation.

    Labels are a function of the image, so a network can learn them by heart.
    """
    num_images = config.num_images or _NUM_IMAGES
    num_classes = config.num_classes or _NUM_CLASSES
    num_val = max(num_images // 10, 2)
    return LabelledData(
        train=_noise(num_images, num_classes, config.image_size, seed=0),
        val=_noise(num_val, num_classes, config.image_size, seed=1),
        num_classes=num_classes,
        input_shape=(3, config.image_size, config.image_size),
    )


def _noise(num_images: int, num_classes: int, size: int, *, seed: int) -> RepeatedImages:
    generator = torch.Generator().manual_seed(seed)
    pool = torch.randn(min(num_images, _POOL), 3, size, size, generator=generator)
    return RepeatedImages(pool, torch.arange(len(pool)) % num_classes, num_images)

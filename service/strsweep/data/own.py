"""A user's own data set: a function that returns training and validation data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from strsweep.config import DataConfig
from strsweep.data.labelled import LabelledData
from strsweep.data.transforms import augmentation, in_words
from strsweep.errors import SettingError
from strsweep.imports import called


class Augmented:
    """Labelled inputs, the inputs transformed.

    Args:
        data: Gives ``(input, label)``.
        transforms: Applied one after the other.
    """

    def __init__(self, data: Any, transforms: Sequence[Any]) -> None:
        self._data, self._transforms = data, transforms

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        value, label = self._data[index]
        for transform in self._transforms:
            value = transform(value)
        return value, label


def open_own(config: DataConfig) -> LabelledData:
    """Call the function that ``data.name`` names.

    Raises:
        SettingError: It cannot be called, or does not return two data sets of ``(input, label)``.
    """
    assert config.name is not None
    made: Any = called(config.name, "data.name", config.options)
    try:
        train, val = made
        first, _ = train[0]
        _ = len(train), len(val), val[0]
    except Exception as error:  # a user's own data can raise anything
        raise SettingError(
            "data.name",
            config.name,
            "It must return a training and a validation data set, each with a length and with "
            f"(input, label) for a number: {type(error).__name__}: {error}",
        ) from error
    is_real = isinstance(first, Tensor) and first.is_floating_point()
    shape = tuple(first.shape) if is_real else None
    return LabelledData(
        train=train,
        val=val,
        num_classes=config.num_classes or _num_classes(config, train),
        input_shape=shape,
    )


def augmented(config: DataConfig, data: LabelledData) -> LabelledData:
    """Return ``data`` augmented as the settings say; for those that are tensors already.

    Raises:
        SettingError: There is no such augmentation, or the inputs are no square images.
    """
    name, shape = config.augment or "none", data.input_shape
    if name == "none":
        return data
    if shape is None or len(shape) != 3 or shape[1] != shape[2]:
        remedy = f"It is for square images, and the inputs have shape {shape}: augment in your own."
        raise SettingError("data.augment", name, remedy)
    return replace(
        data,
        train=Augmented(data.train, augmentation(name, shape[1])),
        preparation=f"training images are {in_words(name)}",
    )


def _num_classes(config: DataConfig, train: Any) -> int:
    for name, count in (("classes", len), ("targets", _largest), ("labels", _largest)):
        values = getattr(train, name, None)
        if values is not None:
            return count(values)
    raise SettingError(
        "data.num_classes",
        None,
        f"Write how many classes {config.name} has: the data set has no attribute classes.",
    )


def _largest(labels: Any) -> int:
    return int(torch.as_tensor(labels).max()) + 1

"""A small convolutional network for 8x8 digits: the whole phenomenon in seconds."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import Literal

from torch import nn

Norm = Literal["batch", "group"]


def digits_cnn(
    num_classes: int = 10, *, width: int = 16, blocks: int = 2, norm: Norm = "batch"
) -> nn.Module:
    """Five 3x3 convolutions of width w, 2w, 2w, 4w, 4w, then average pooling and a linear layer.

    Args:
        num_classes: Outputs.
        width: w.
        blocks: Convolutions of width 2w, and of width 4w; the first of each halves the image.
        norm: ``batch``, or ``group`` (8 channels a group) for statistics of one image alone.

    Raises:
        ValueError: ``width`` or ``blocks`` is below 1, or ``norm`` is unknown.
    """
    if width < 1 or blocks < 1:
        raise ValueError(f"width, blocks: got {width}, {blocks}, use 1 or more")
    if norm not in {"batch", "group"}:
        raise ValueError(f"norm: got {norm!r}, use 'batch' or 'group'")
    channels = [1, width, *[2 * width] * blocks, *[4 * width] * blocks]
    strides = [1, *[2, *[1] * (blocks - 1)] * 2]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, ((inputs, outputs), stride) in enumerate(
        zip(pairwise(channels), strides, strict=True), start=1
    ):
        layers[f"block{index}"] = _block(inputs, outputs, stride, norm)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels[-1], num_classes, bias=False)
    return nn.Sequential(layers)


def _block(inputs: int, outputs: int, stride: int, norm: Norm) -> nn.Module:
    normalization = (
        nn.BatchNorm2d(outputs) if norm == "batch" else nn.GroupNorm(max(outputs // 8, 1), outputs)
    )
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            norm=normalization,
            relu=nn.ReLU(),
        )
    )

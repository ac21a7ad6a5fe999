"""The smallest network with a convolution, a batch norm and a classifier."""

from __future__ import annotations

from torch import nn


def tiny(num_classes: int, *, channels: int = 3) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, num_classes, bias=False),
    )

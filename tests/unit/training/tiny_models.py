"""The smallest network with a convolution, a batch norm and a classifier."""

from __future__ import annotations

from torch import Tensor, nn
from typing_extensions import override


def tiny(num_classes: int, *, channels: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, num_classes, bias=False),
    )


class OwnNorm(nn.BatchNorm2d):
    @override
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + 1


def own_norm(num_classes: int) -> nn.Module:
    return nn.Sequential(OwnNorm(1), tiny(num_classes, channels=1))


class _Frozen(nn.BatchNorm2d):
    """Keeps its statistics while its model trains, as when a trained network is tuned."""

    def train(self, mode: bool = True) -> _Frozen:
        return super().train(False)


def half_frozen(num_classes: int, *, how: str = "train") -> nn.Module:
    """Return a network whose first of two batch norms is frozen, in one of the ways people do."""
    model = tiny(num_classes, channels=1)
    frozen = _Frozen(8) if how == "train" else nn.BatchNorm2d(8)
    assert frozen.running_mean is not None
    frozen.running_mean = frozen.running_mean + 0.25
    if how == "eval":
        frozen.eval()
    if how == "momentum":
        frozen.momentum = 0.0
    if how == "gradient":
        frozen.requires_grad_(False)
    return nn.Sequential(model[0], frozen, *list(model)[1:])

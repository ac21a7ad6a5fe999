"""A network in float64: sums in another order differ by 1e-15, not by what training amplifies."""

from __future__ import annotations

from torch import Tensor, nn

from strsweep.models import build


class _Float64(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x.double())


def resnet20(num_classes: int) -> nn.Module:
    return _Float64(build("resnet20", num_classes=num_classes))

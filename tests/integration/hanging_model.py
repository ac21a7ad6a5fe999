"""A network whose second worker hangs once, as one does on a disk or a link that died."""

from __future__ import annotations

import time
from pathlib import Path

import torch.distributed as dist
from torch import Tensor, nn

from strsweep.models import build


class HangsOnce(nn.Module):
    """Args: the network, in which batch it hangs, and the file that says that it did."""

    def __init__(self, network: nn.Module, at_batch: int, mark: Path) -> None:
        super().__init__()
        self.network = network
        self._left, self._mark = at_batch, mark

    def forward(self, images: Tensor) -> Tensor:
        if self.training and dist.is_initialized() and dist.get_rank() == 1:
            self._left -= 1
            if self._left == 0 and not self._mark.exists():
                self._mark.touch()
                time.sleep(3600)
        return self.network(images)


def digits_cnn(num_classes: int, at_batch: int, mark: str) -> nn.Module:
    return HangsOnce(build("digits_cnn", num_classes=num_classes), at_batch, Path(mark))

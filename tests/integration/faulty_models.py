"""Networks that fail once, as a worker does on a disk or a link that died."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from strsweep.models import build


class FailsOnce(nn.Module):
    """A network whose training fails in one batch of one worker.

    Args:
        network: That fails.
        rank: Of the worker.
        at_batch: Number of the batch that a process trains on, from 1.
        mark: The file that says that it failed.
        fault: What happens then.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        rank: int,
        at_batch: int,
        mark: str,
        fault: Callable[[], None],
    ) -> None:
        super().__init__()
        self.network = network
        self._rank, self._left, self._mark, self._fault = rank, at_batch, Path(mark), fault

    def forward(self, images: Tensor) -> Tensor:
        if self.training and (dist.get_rank() if dist.is_initialized() else 0) == self._rank:
            self._left -= 1
            if self._left == 0 and not self._mark.exists():
                self._mark.touch()
                self._fault()
        return self.network(images)


def hangs_once(num_classes: int, at_batch: int, mark: str) -> nn.Module:
    """Build a network for digits whose second worker hangs."""
    network, fault = build("digits_cnn", num_classes=num_classes), partial(time.sleep, 3600)
    return FailsOnce(network, rank=1, at_batch=at_batch, mark=mark, fault=fault)


def dies_once(num_classes: int, at_batch: int, mark: str) -> nn.Module:
    """Build a network for digits whose worker is killed."""
    network, fault = build("digits_cnn", num_classes=num_classes), _die
    return FailsOnce(network, rank=0, at_batch=at_batch, mark=mark, fault=fault)


class Armed(nn.Module):
    """A network that has a fault whenever it sees a batch while a file is there.

    Args:
        network: That has it.
        armed: The file.
        fault: ``dies``, ``dies_once``, ``raises_once`` or ``out_of_memory_once``.
    """

    def __init__(self, network: nn.Module, armed: Path, fault: str) -> None:
        super().__init__()
        self.network, self._armed, self._fault = network, armed, fault

    def forward(self, images: Tensor) -> Tensor:
        if self._armed.exists() and len(images) > 1:
            if self._fault != "dies":
                self._armed.unlink(missing_ok=True)
            if self._fault == "raises_once":
                raise ValueError("the disk is gone")
            if self._fault == "out_of_memory_once":
                torch.empty(1 << 50)
            os._exit(1)
        return self.network(images)


def armed(num_classes: int, armed: str, fault: str) -> nn.Module:
    """Build a network for digits that has a fault once it is armed."""
    return Armed(build("digits_cnn", num_classes=num_classes), Path(armed), fault)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)

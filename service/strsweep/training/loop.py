"""The inside of an epoch: train on every batch, count what is right on the validation images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F  # ruff: ignore[lowercase-imported-as-non-lowercase] - the name every torch reader knows
from torch import Tensor, nn

from strsweep.config import TrainingConfig

Batches = Iterable[tuple[Tensor, Tensor]]

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Counts over all validation images and all workers."""

    correct: int
    total: int
    loss_sum: float

    @property
    def accuracy(self) -> float:
        """Share of images whose most likely class is the label."""
        return self.correct / self.total

    @property
    def loss(self) -> float:
        """Mean cross-entropy, without label smoothing."""
        return self.loss_sum / self.total


class Stepper:
    """Moves batches to the device and takes optimizer steps, with autocast and loss scaling.

    Args:
        config: Label smoothing, precision and memory layout.
        device: Where model and batches go.
    """

    def __init__(self, config: TrainingConfig, device: torch.device) -> None:
        self._config = config
        self._device = device
        self.scaler = torch.amp.GradScaler(
            device.type, enabled=config.precision == "float16"
        )  # a pass-through unless float16

    def train(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: Batches,
        learning_rate: Callable[[int], float],
    ) -> list[float]:
        """Train on ``batches`` and return the loss of every step, averaged over the workers."""
        network.train()
        losses: list[Tensor] = []
        for step, (images, labels) in enumerate(batches):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step)
            with self._autocast():
                loss = F.cross_entropy(
                    network(self._images(images)),
                    labels.to(self._device, non_blocking=True),
                    label_smoothing=self._config.label_smoothing,
                )
            optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            self.scaler.step(optimizer)
            self.scaler.update()
            losses.append(loss.detach())  # read after the epoch: .item() here would stall the GPU
        return _mean_over_workers(torch.stack(losses).double()).tolist()

    @torch.no_grad()
    def evaluate(self, model: nn.Module, batches: Batches) -> Evaluation:
        """Count correct images over all workers; each worker passes its own share."""
        model.eval()
        sums = torch.zeros(3, dtype=torch.float64, device=self._device)
        for images, labels in batches:
            with self._autocast():
                logits = model(self._images(images)).float()
            labels = labels.to(self._device)
            sums[0] += (logits.argmax(dim=1) == labels).sum()
            sums[1] += len(labels)
            sums[2] += F.cross_entropy(logits, labels, reduction="sum")
        if dist.is_initialized():
            dist.all_reduce(sums)
        correct, total, loss_sum = sums.tolist()
        return Evaluation(correct=int(correct), total=int(total), loss_sum=loss_sum)

    def _images(self, images: Tensor) -> Tensor:
        layout = torch.channels_last if self._config.channels_last else torch.contiguous_format
        return images.to(self._device, non_blocking=True, memory_format=layout)

    def _autocast(self) -> torch.autocast:
        dtype = _AUTOCAST.get(self._config.precision, torch.bfloat16)
        return torch.autocast(
            self._device.type, dtype=dtype, enabled=self._config.precision in _AUTOCAST
        )


def _mean_over_workers(values: Tensor) -> Tensor:
    if dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values

"""The inside of an epoch: train on every batch, count what is right on the validation images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F  # ruff: ignore[lowercase-imported-as-non-lowercase] - the name every torch reader knows
from torch import Tensor, nn

from strsweep.config import TrainingConfig
from strsweep.data import unreadable_indices

Batches = Iterable[tuple[Tensor, Tensor]]

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_NO_LABEL = -100
"""Cross-entropy skips it; the label of an image that could not be read."""


@dataclass(frozen=True, kw_only=True)
class TrainedEpoch:
    """What the training steps of one epoch gave."""

    losses: list[float]
    """Of every step, the mean over the images of the global batch."""
    unreadable: list[int]
    """Numbers of images that this worker could not read."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Counts over all validation images that were read, and all workers."""

    correct: int
    total: int
    loss_sum: float
    unreadable: list[int]
    """Numbers of images that this worker could not read."""

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
        *,
        sizes: Sequence[int],
        learning_rates: Sequence[float],
        before_step: Callable[[int], None],
    ) -> TrainedEpoch:
        """Train on ``batches``, this worker's shares.

        Args:
            network: Perhaps wrapped for several workers.
            optimizer: Of its parameters.
            batches: Images and labels.
            sizes: Images of every step over all workers.
            learning_rates: Of every step.
            before_step: Is called with the number of the step, from 0.
        """
        network.train()
        losses: list[Tensor] = []
        unreadable: list[int] = []
        steps = zip(batches, sizes, learning_rates, strict=True)
        for step, ((images, labels), size, rate) in enumerate(steps):
            before_step(step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            unreadable += unreadable_indices(labels)
            loss = self._loss(network, images, labels, size)
            optimizer.zero_grad(set_to_none=True)
            self.scaler.scale(loss).backward()
            self.scaler.step(optimizer)
            self.scaler.update()
            losses.append(loss.detach())  # read after the epoch: .item() here would stall the GPU
        return TrainedEpoch(
            losses=_mean_over_workers(torch.stack(losses).double()).tolist(), unreadable=unreadable
        )

    @torch.no_grad()
    def evaluate(self, model: nn.Module, batches: Batches) -> Evaluation:
        """Count correct images over all workers; each worker passes its own share."""
        model.eval()
        sums = torch.zeros(3, dtype=torch.float64, device=self._device)
        unreadable: list[int] = []
        for images, labels in batches:
            unreadable += unreadable_indices(labels)
            with self._autocast():
                logits = model(self._images(images)).float()
            labels = self._labels(labels)
            sums[0] += (logits.argmax(dim=1) == labels).sum()
            sums[1] += (labels != _NO_LABEL).sum()
            sums[2] += F.cross_entropy(logits, labels, reduction="sum")
        if dist.is_initialized():
            dist.all_reduce(sums)
        correct, total, loss_sum = sums.tolist()
        return Evaluation(
            correct=int(correct), total=int(total), loss_sum=loss_sum, unreadable=unreadable
        )

    def _loss(self, network: nn.Module, images: Tensor, labels: Tensor, size: int) -> Tensor:
        with self._autocast():
            total = F.cross_entropy(
                network(self._images(images)),
                self._labels(labels),
                label_smoothing=self._config.label_smoothing,
                reduction="sum",
            )
        # Workers' gradients are averaged: this makes their mean that of the global batch, also
        # where the shares of the last batch differ by an image.
        return total * (dist.get_world_size() / size if dist.is_initialized() else 1 / size)

    def _images(self, images: Tensor) -> Tensor:
        layout = torch.channels_last if self._config.channels_last else torch.contiguous_format
        return images.to(self._device, non_blocking=True, memory_format=layout)

    def _labels(self, labels: Tensor) -> Tensor:
        known = labels.where(labels >= 0, _NO_LABEL)
        return known.to(self._device, non_blocking=True)

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

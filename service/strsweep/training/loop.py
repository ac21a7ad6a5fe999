"""The inside of an epoch: train on every batch, measure on the validation data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from strsweep.config import TrainingConfig
from strsweep.tasks import Task
from strsweep.training.input_pipeline import of_all_workers
from strsweep.training.optimizer import RunOptimizer

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Stepper:
    """Moves batches to the device and takes optimizer steps, with autocast and loss scaling."""

    def __init__(self, task: Task, config: TrainingConfig, device: torch.device) -> None:
        self._task, self._config, self._device = task, config, device
        if not config.tf32:  # for the whole process, which is there for one experiment
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self.scaler = torch.amp.GradScaler(
            device.type, enabled=config.precision == "float16"
        )  # a pass-through unless float16

    def train(
        self,
        network: nn.Module,
        optimizer: RunOptimizer,
        batches: Iterable[Any],
        *,
        learning_rates: Sequence[float],
        before_step: Callable[[int], None],
    ) -> list[float]:
        """Train on ``batches``, this worker's shares; return the mean global loss of every step.

        ``network`` is perhaps wrapped for several workers; ``before_step`` is called with the
        number of every step, from 0.
        """
        network.train()
        losses: list[Tensor] = []
        for step, (batch, rate) in enumerate(zip(batches, learning_rates, strict=True)):
            before_step(step)
            optimizer.set_learning_rate(rate)
            loss, share = self._loss(network, batch)
            optimizer.step(loss, self.scaler)
            losses.append(share)  # read after the epoch: .item() here would stall the GPU
        return _over_workers(torch.stack(losses).double()).tolist()

    @torch.no_grad()
    def evaluate(self, model: nn.Module, batches: Iterable[Any]) -> dict[str, float]:
        """Return the sums of the task over all workers; each worker passes its own share."""
        model.eval()
        totals: dict[str, Tensor] = {}
        for batch in batches:
            batch = self._moved(batch)
            with self._autocast():
                outputs = self._task.forward(model, batch)
            for name, value in self._task.sums(outputs, batch).items():
                value = torch.as_tensor(value, dtype=torch.float64, device=self._device)
                totals[name] = totals[name] + value if name in totals else value
        return _summed({name: total.item() for name, total in totals.items()})

    def _loss(self, network: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """Return what to differentiate, and this worker's share of the mean loss."""
        batch = self._moved(batch)
        with self._autocast():
            total, count = self._task.loss(self._task.forward(network, batch), batch)
        if not dist.is_initialized():
            mean = total / (count + (count == 0))  # no sample could be read: no loss, and no NaN
            return mean, mean.detach()
        # Workers' gradients are averaged: with the count of all of them, and times their number,
        # that mean is the gradient over the global batch, whatever their shares of it are.
        everywhere = torch.as_tensor(count, dtype=torch.float32, device=self._device).clone()
        dist.all_reduce(everywhere)
        share = total / (everywhere + (everywhere == 0))
        return share * dist.get_world_size(), share.detach()

    def _moved(self, value: Any) -> Any:
        """Return a batch on the device, images in the memory layout of the settings."""
        if isinstance(value, Tensor):
            is_last = self._config.channels_last and value.ndim == 4
            layout = torch.channels_last if is_last else torch.preserve_format
            return value.to(self._device, non_blocking=True, memory_format=layout)
        if isinstance(value, Mapping):
            return {key: self._moved(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            moved = [self._moved(inner) for inner in value]
            return type(value)(*moved) if hasattr(value, "_fields") else type(value)(moved)
        return value

    def _autocast(self) -> torch.autocast:
        dtype = _AUTOCAST.get(self._config.precision, torch.bfloat16)
        return torch.autocast(
            self._device.type, dtype=dtype, enabled=self._config.precision in _AUTOCAST
        )


def _over_workers(values: Tensor) -> Tensor:
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def _summed(sums: dict[str, float]) -> dict[str, float]:
    """Add the sums of all workers; one that had no sample has none."""
    parts = of_all_workers(sums)
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: math.fsum(part.get(name, 0.0) for part in parts) for name in names}

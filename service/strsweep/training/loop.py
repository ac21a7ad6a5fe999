"""The inside of an epoch: this worker's data, the steps on its batches, and what is measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from strsweep.config import Experiment, TrainingConfig
from strsweep.data import TrainingBatches, ValidationBatches, training_loader, validation_loader
from strsweep.errors import ImagesUnreadableError, SettingError
from strsweep.tasks import Task, task_of
from strsweep.training.optimizer import RunOptimizer

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_TOLERATED = 0.01
"""Share of the images of an epoch; more than that is a lost disk or server, not some bad files."""
_NAMED = 20


class InputPipeline:
    """Training and validation data of one worker; loader processes live as long as the lane.

    Raises:
        SettingError: The data cannot be opened or are fewer than a batch.
    """

    def __init__(self, experiment: Experiment, rank: int, world_size: int) -> None:
        self.task = task_of(experiment)
        check_batch_size(experiment, self.task)
        self.rank, self.world_size = rank, world_size
        training = experiment.training
        shard: Any = {"batch_size": training.batch_size, "rank": rank, "world_size": world_size}
        self._batches = TrainingBatches(
            num_samples=len(self.task.train), seed=training.seed, epoch=0, **shard
        )
        validation = ValidationBatches(num_samples=len(self.task.val), **shard)
        # Only a collate of their own needs samples one by one.
        collate = None if type(self.task).collate is Task.collate else self.task.collate
        processes = experiment.data.loader_processes
        self._training = training_loader(self.task.train, self._batches, processes, collate=collate)
        self._validation = validation_loader(self.task.val, validation, processes, collate=collate)
        self._unreadable: list[tuple[str, int]] = []
        """Split and number of each sample that this worker could not read in this epoch."""

    @property
    def batch_size(self) -> int:
        """Samples of a full step over all workers of this pipeline."""
        return self._batches.batch_size

    @property
    def steps(self) -> int:
        """Optimizer steps of one epoch."""
        return len(self._batches)

    @property
    def validation_steps(self) -> int:
        """Batches of this worker's validation samples."""
        return len(self._validation)

    def epoch(self, epoch: int) -> Iterator[Any]:
        """Yield the training batches of ``epoch``, from 0."""
        self._unreadable.clear()
        self._training.set_epoch(epoch)
        yield from self._read("train", self._training)

    def validation(self) -> Iterator[Any]:
        """Yield this worker's share of the validation samples, in batches."""
        return self._read("val", self._validation)

    def _read(self, split: str, batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            self._unreadable += [(split, index) for index in self.task.unreadable(batch)]
            yield batch

    def seed(self, epoch: int) -> int:
        """Return the seed of ``epoch`` and this worker, for what the network draws."""
        mixed = replace(self._batches, epoch=epoch).generator().initial_seed()
        return (mixed + self.rank) % 2**63

    def unreadable(self) -> tuple[int, list[str]]:
        """Return how many images since the epoch began no worker could read, and names of some.

        Raises:
            ImagesUnreadableError: They are more than a bad file here and there.
        """
        bad = self._unreadable
        parts = of_all_workers((len(bad), [self.task.sample_name(*one) for one in bad[:_NAMED]]))
        count = sum(number for number, _ in parts)
        names = [name for _, some in parts for name in some][:_NAMED]
        if count > _TOLERATED * (len(self.task.train) + len(self.task.val)):
            told = of_all_workers([self.task.unreadable_reason(*one) for one in bad[:1]])
            reason = next(first for first, *_ in filter(None, told))
            why = f"{reason} (data.path)" if reason else "is the storage of data.path there?"
            raise ImagesUnreadableError(
                f"{count} images of one epoch could not be read, among them {names[0]}: {why}"
            )
        bad.clear()
        return count, names


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


def check_batch_size(experiment: Experiment, task: Task) -> None:
    """Raise ``SettingError`` unless an epoch has at least one full step."""
    if len(task.train) < experiment.training.batch_size:
        remedy = (
            f"There are {len(task.train)} training samples, fewer than one batch: use a smaller "
            "batch."
        )
        raise SettingError("training.batch_size", experiment.training.batch_size, remedy)


def of_all_workers(value: Any) -> list[Any]:
    """Return on all workers what ``value`` is on each of them, in their order."""
    if not dist.is_initialized():
        return [value]
    gathered = [value] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def of_first_worker(value: Any) -> Any:
    """Return on all workers what ``value`` is on the first one; nobody looks at the others'."""
    shared = [value]
    if dist.is_initialized():
        dist.broadcast_object_list(shared)
    return shared[0]


def _over_workers(values: Tensor) -> Tensor:
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def _summed(sums: dict[str, float]) -> dict[str, float]:
    """Add the sums of all workers; one that had no sample has none."""
    parts = of_all_workers(sums)
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: math.fsum(part.get(name, 0.0) for part in parts) for name in names}

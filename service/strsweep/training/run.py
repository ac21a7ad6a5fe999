"""One training run from its settings to its last epoch. Knows neither Ray nor journals."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from strsweep.config import Experiment, RunSettings
from strsweep.errors import CheckpointError, ImagesUnreadableError, TrainingDivergedError
from strsweep.sparsity import SparsityReport, bound_gradients, measure
from strsweep.training.batch_norm import share_batch_statistics
from strsweep.training.checkpoint import State
from strsweep.training.input_pipeline import InputPipeline
from strsweep.training.loop import Stepper
from strsweep.training.mode import Steering, before_epoch
from strsweep.training.network import sparse_model
from strsweep.training.optimizer import load_optimizer, set_weight_decay, sgd
from strsweep.training.schedule import learning_rate


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """What one epoch gave."""

    epoch: int
    """Epochs finished, from 1."""
    train_loss: float
    """Mean over the steps, with label smoothing."""
    val_loss: float
    accuracy: float
    """Share of validation images classified right."""
    sparsity: float
    """Share of exact zeros among convolution and linear weights."""
    macs: int
    """Multiply-adds of one input that are left."""
    learning_rate: float
    """Of the last step."""
    seconds: float
    """Wall time of training and evaluation."""
    unreadable_images: int = 0
    """Image files that could not be decoded; they had no part in this epoch."""
    weight_decay: float = 0.0
    """Of the run in this epoch; 0 in what version 0.1 wrote."""


class TrainingRun:
    """The state of one run on one worker.

    Args:
        experiment: Model, data, training and sparsity sections are used.
        settings: What the search chose for this run.
        device: Where to train.
        rank: Number of this worker, from 0.
        world_size: Workers of this run; above 1 the default process group must be initialized.

    Raises:
        SettingError: The model or the data do not fit the settings.
    """

    def __init__(
        self,
        experiment: Experiment,
        settings: RunSettings,
        *,
        device: torch.device,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self._experiment, self._settings = experiment, settings
        self._config = experiment.training
        self._device, self._world_size = device, world_size
        self._input = InputPipeline(experiment, rank, world_size)
        images = self._input.images
        self._input_shape = images.input_shape
        torch.manual_seed(self._config.seed)
        self.model = sparse_model(experiment, settings, images.num_classes, images.input_shape)
        self.model.to(device)
        if self._config.channels_last:
            self.model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._network = self._distribute()
        self._optimizer = sgd(
            self.model,
            momentum=self._config.momentum,
            weight_decay=settings.weight_decay,
            threshold_decay=experiment.sparsity.threshold_decay,
            batch_norm_decay=self._config.batch_norm_decay,
        )
        bound_gradients(self.model, self._optimizer)
        self._stepper = Stepper(self._config, device)
        self._steering = Steering(
            self.model, experiment, settings, len(self._input.sizes), self._input_shape
        )
        self.history: list[EpochMetrics] = []
        self.step_losses: list[float] = []
        """Of the last epoch."""
        self.unreadable: list[str] = []
        """Names of some images that the last epoch could not read."""
        self.thresholds: tuple[float | None, ...] = ()
        """Of the layers after the last epoch, in the order of ``report``."""

    def epochs(self) -> Iterator[EpochMetrics]:
        """Train the epochs that are left, and yield after each.

        Raises:
            TrainingDivergedError: The loss became NaN or infinite.
            ImagesUnreadableError: More images cannot be read than a bad file here and there.
        """
        while len(self.history) < self._config.epochs:
            self.history.append(self._epoch(len(self.history)))
            yield self.history[-1]

    def report(self) -> SparsityReport:
        """Count zeros and MACs of the current weights, layer by layer."""
        return measure(self.model, self._input_shape)

    def state(self) -> State:
        """Return all that the next epoch depends on; its random state follows from its number."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._stepper.scaler.state_dict(),
            "history": [asdict(metrics) for metrics in self.history],
        }

    def load_state(self, state: State) -> None:
        """Continue where ``state`` was taken.

        Raises:
            CheckpointError: It belongs to another model.
        """
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise CheckpointError(f"the checkpoint belongs to another model: {error}") from error
        load_optimizer(self._optimizer, state["optimizer"])
        self._stepper.scaler.load_state_dict(state["scaler"])
        self.history = [EpochMetrics(**metrics) for metrics in state["history"]]

    def has_passed(self, state: State) -> bool:
        """Tell whether this run comes to ``state``: it was not reached by another weight decay."""
        return all(map(self._settings.has_epoch, state["history"]))

    def _epoch(self, epoch: int) -> EpochMetrics:
        started = time.monotonic()
        rates = self._prepared(epoch)
        trained = self._stepper.train(
            self._network,
            self._optimizer,
            self._input.epoch(epoch),
            sizes=self._input.sizes,
            learning_rates=rates,
            before_step=partial(self._steering.before_step, epoch),
        )
        self._steering.after_epoch(epoch)
        self.step_losses = trained.losses
        train_loss = math.fsum(trained.losses) / len(trained.losses)
        self._check_finite("training", train_loss, epoch)
        evaluation = self._stepper.evaluate(self.model, self._input.validation)
        # Before the losses are looked at: without any image that was read there are none.
        num_unreadable, self.unreadable = self._input.unreadable(
            trained.unreadable, evaluation.unreadable
        )
        if evaluation.total == 0:
            raise ImagesUnreadableError("no validation image could be read")
        self._check_finite("validation", evaluation.loss, epoch)
        report = self.report()
        assert report.macs is not None
        self.thresholds = tuple(layer.threshold for layer in report.layers)
        return EpochMetrics(
            epoch=epoch + 1,
            train_loss=train_loss,
            val_loss=evaluation.loss,
            accuracy=evaluation.accuracy,
            sparsity=report.sparsity,
            macs=report.macs,
            learning_rate=rates[-1],
            seconds=time.monotonic() - started,
            unreadable_images=num_unreadable,
            weight_decay=self._settings.weight_decay_in(epoch + 1),
        )

    def _prepared(self, epoch: int) -> list[float]:
        """Set what holds for a whole epoch, and return the learning rates of its steps."""
        before_epoch(self.model, self._experiment, epoch)
        set_weight_decay(self._optimizer, self._settings.weight_decay_in(epoch + 1))
        # Seeded anew every epoch, so that a resumed run draws what an uninterrupted one draws.
        torch.manual_seed(self._input.seed(epoch))
        steps = len(self._input.sizes)
        return [learning_rate(self._config, epoch, step, steps) for step in range(steps)]

    def _distribute(self) -> nn.Module:
        if self._world_size == 1:
            return self._compiled(self.model)
        if self._config.sync_batchnorm:
            self.model = share_batch_statistics(self.model, self._device)
        devices: list[Any] | None = None if self._device.type == "cpu" else [self._device]
        return self._compiled(DistributedDataParallel(self.model, device_ids=devices))

    def _compiled(self, network: nn.Module) -> nn.Module:
        # A wrapper for the training steps only: states, counts and evaluation stay plain.
        compiled: Any = torch.compile(network) if self._config.compile else network
        return compiled

    def _check_finite(self, which: str, loss: float, epoch: int) -> None:
        if not math.isfinite(loss):
            raise TrainingDivergedError(
                f"the {which} loss became {loss} in epoch {epoch + 1}: lower "
                f"training.learning_rate (now {self._config.learning_rate:g})"
            )

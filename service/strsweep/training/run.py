"""One training run from its settings to its last epoch. Knows neither Ray nor journals."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from strsweep.config import Experiment
from strsweep.errors import CheckpointError, TrainingDivergedError
from strsweep.settings import Quantity, RunSettings
from strsweep.sparsity.measure import SparsityReport, measure
from strsweep.sparsity.methods import Course, Hooks
from strsweep.sparsity.steering import bound_gradients
from strsweep.tasks import Task
from strsweep.training.batch_norm import share_batch_statistics
from strsweep.training.checkpoint import State
from strsweep.training.input_pipeline import InputPipeline
from strsweep.training.law import Law, Leader, ThresholdClock
from strsweep.training.loop import Evaluation, Stepper, TrainedEpoch
from strsweep.training.network import sparse_model
from strsweep.training.optimizer import RunOptimizer
from strsweep.training.schedule import learning_rate


@dataclass(frozen=True, kw_only=True)
class EpochMetrics:
    """What one epoch gave."""

    epoch: int
    """Epochs finished, from 1."""
    train_loss: float
    """Mean over the steps, as it is minimized."""
    task: dict[str, float]
    """Metrics of the task on the validation data, by name."""
    sparsity: float
    """Share of exact zeros among convolution and linear weights."""
    macs: int
    """Multiply-adds of one input that are left."""
    dense_macs: int
    """Multiply-adds of one input without pruning."""
    learning_rate: float
    """Of the last step."""
    seconds: float
    """Wall time of training and evaluation."""
    weight_decay: float
    """Of the weights in this epoch."""
    threshold_decay: float
    """Of the thresholds in this epoch; 0 while they do not act."""
    unreadable_images: int = 0
    """Samples that could not be read; they had no part in this epoch."""

    @property
    def row(self) -> dict[str, float]:
        """All numbers by name, as the journal has them."""
        own = {key: value for key, value in vars(self).items() if key != "task"}
        return own | self.task


class TrainingRun:
    """The state of one run on one worker.

    Args:
        experiment: Model, data, training and sparsity sections are used.
        settings: What the search chose for this run.
        device: Where to train.
        rank: Number of this worker, from 0.
        world_size: Workers of this run; above 1 the default process group must be initialized.
        images: Opened for an earlier run of the same experiment on this worker; None: by this one.

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
        images: InputPipeline | None = None,
    ) -> None:
        self._experiment, self._settings = experiment, settings
        self._config = experiment.training
        self._device, self._world_size = device, world_size
        self._input = images or InputPipeline(experiment, rank, world_size)
        self._example = self._input.task.example()
        self.model = _new_model(experiment, settings, self._input.task)
        self.model.to(device)
        if self._config.channels_last:
            self.model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if world_size > 1 and self._config.sync_batchnorm:
            self.model = share_batch_statistics(self.model, device)
        self._wrapped: tuple[bool, nn.Module] | None = None
        self._optimizer = RunOptimizer(self.model, self._config)
        if self._optimizer.thresholds is not None:
            bound_gradients(self.model, self._optimizer.thresholds)
        self._stepper = Stepper(self._input.task, self._config, device)
        self._hooks = self._new_hooks()
        self._leader = _leader(experiment, settings, self._input.steps)
        self.history: list[EpochMetrics] = []
        self.step_losses: list[float] = []
        """Of the last epoch."""
        self.unreadable: list[str] = []
        """Names of some images that the last epoch could not read."""
        self.thresholds: tuple[float | None, ...] = ()
        """Of the layers after the last epoch, in the order of ``report``."""

    @property
    def num_epochs(self) -> int:
        """Epochs of the whole run."""
        return self._settings.last_epoch or self._config.epochs

    def is_shared(self, epoch: int) -> bool:
        """Return whether other runs begin with the state after ``epoch``."""
        return epoch == self._settings.shared_epoch

    def is_stored(self, epoch: int) -> bool:
        """Return whether the state after ``epoch`` is stored."""
        is_due = epoch % self._config.checkpoint_every == 0
        return is_due or self.is_shared(epoch) or epoch == self.num_epochs

    def epochs(self) -> Iterator[EpochMetrics]:
        """Train the epochs that are left, and yield after each.

        Raises:
            TrainingDivergedError: The loss became NaN or infinite.
            ImagesUnreadableError: More images cannot be read than a bad file here and there.
        """
        while len(self.history) < self.num_epochs:
            self.history.append(self._epoch(len(self.history)))
            yield self.history[-1]

    def report(self) -> SparsityReport:
        """Count zeros and MACs of the current weights, layer by layer."""
        return measure(self.model, self._example)

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
        self._optimizer.load_state_dict(state["optimizer"])
        self._stepper.scaler.load_state_dict(state["scaler"])
        self.history = [EpochMetrics(**metrics) for metrics in state["history"]]

    def _epoch(self, epoch: int) -> EpochMetrics:
        started = time.monotonic()
        decays, rates = self._begin(epoch), self._rates(epoch)
        trained = self._stepper.train(
            self._network(epoch),
            self._optimizer,
            self._input.epoch(epoch),
            learning_rates=rates,
            before_step=lambda step: self._hooks.before_step(epoch * self._input.steps + step),
        )
        self._hooks.after_epoch(epoch + 1)
        self.step_losses = trained.losses
        train_loss = math.fsum(trained.losses) / len(trained.losses)
        self._check_finite("training loss", train_loss, epoch)
        evaluation, num_unreadable = self._evaluated(trained)
        metrics = evaluation.metrics
        for name, value in metrics.items():
            self._check_finite(name, value, epoch)
        report = self.report()
        assert report.macs is not None
        assert report.dense_macs is not None
        self.thresholds = tuple(layer.threshold for layer in report.layers)
        return EpochMetrics(
            epoch=epoch + 1,
            train_loss=train_loss,
            task=metrics,
            sparsity=report.sparsity,
            macs=report.macs,
            dense_macs=report.dense_macs,
            learning_rate=rates[-1],
            seconds=time.monotonic() - started,
            unreadable_images=num_unreadable,
            weight_decay=decays["weights"],
            threshold_decay=decays["thresholds"],
        )

    def _evaluated(self, trained: TrainedEpoch) -> tuple[Evaluation, int]:
        """Evaluate the model; return also how many images the epoch could not read."""
        evaluation = self._stepper.evaluate(self.model, self._input.validation)
        num_unreadable, self.unreadable = self._input.unreadable(
            trained.unreadable, evaluation.unreadable
        )
        return evaluation, num_unreadable

    def _new_hooks(self) -> Hooks:
        method, settings = self._experiment.sparsity, self._settings
        if settings.is_dense and not method.needs_search:
            return Hooks()
        epochs, steps = self._config.epochs, self._input.steps
        course = Course(epochs=epochs, steps_per_epoch=steps, example=self._example)
        return method.hooks(self.model, settings, course)

    def _begin(self, epoch: int) -> dict[str, float]:
        """Set what holds for all of ``epoch``, from 0; return its decays by kind of parameter."""
        self._hooks.before_epoch(epoch)
        decays = self._decays(epoch)
        self._optimizer.set_decays(**decays)
        # Seeded anew every epoch, so that a resumed run draws what an uninterrupted one draws.
        torch.manual_seed(self._input.seed(epoch))
        return decays

    def _decays(self, epoch: int) -> dict[str, float]:
        settings = self._settings
        weights = settings.weight_decay
        acts = settings.acts_in(epoch) and self._optimizer.thresholds is not None
        thresholds = settings.first_decay if acts else 0.0
        if acts and self._leader is not None and self.history:
            leader = self._leader
            used = [metrics.threshold_decay for metrics in self.history]
            exposure = leader.clock.exposure(used, leader.lead.delay)
            pruned = self._pruned(leader.lead.quantity)
            thresholds = leader.next_decay(epoch, exposure, pruned)
            if settings.threshold_decay is None:
                weights = thresholds
        norms = weights if self._config.batch_norm_decay else 0.0
        return {"weights": weights, "thresholds": thresholds, "norms": norms}

    def _pruned(self, quantity: Quantity) -> float:
        last = self.history[-1]
        return last.sparsity if quantity == "sparsity" else 1 - last.macs / last.dense_macs

    def _rates(self, epoch: int) -> list[float]:
        steps = self._input.steps
        return [learning_rate(self._config, epoch, step, steps) for step in range(steps)]

    def _network(self, epoch: int) -> nn.Module:
        """Return the model as training steps call it; it is wrapped anew when thresholds begin."""
        acts = self._settings.acts_in(epoch)
        if self._wrapped is None or self._wrapped[0] != acts:
            self._wrapped = acts, self._compiled(self._distributed())
        return self._wrapped[1]

    def _distributed(self) -> nn.Module:
        if self._world_size == 1:
            return self.model
        devices: list[Any] | None = None if self._device.type == "cpu" else [self._device]
        return DistributedDataParallel(self.model, device_ids=devices)

    def _compiled(self, network: nn.Module) -> nn.Module:
        # A wrapper for the training steps only: states, counts and evaluation stay plain.
        compiled: Any = torch.compile(network) if self._config.compile else network
        return compiled

    def _check_finite(self, which: str, loss: float, epoch: int) -> None:
        if not math.isfinite(loss):
            raise TrainingDivergedError(
                f"the {which} became {loss} in epoch {epoch + 1}: lower "
                f"training.learning_rate (now {self._config.learning_rate:g})"
            )


def _new_model(experiment: Experiment, settings: RunSettings, task: Task) -> nn.Module:
    if experiment.training.compile:
        # Parametrized layers of every run have classes of their own: after eight runs in one
        # process torch would not compile any more, and not say so. Its caches on disk stay.
        torch.compiler.reset()
    torch.manual_seed(experiment.training.seed)
    return sparse_model(experiment, settings, task)


def _leader(experiment: Experiment, settings: RunSettings, steps_per_epoch: int) -> Leader | None:
    if settings.lead is None:
        return None
    clock = ThresholdClock.of(experiment, steps_per_epoch, settings.onset)
    law = Law.of(experiment)
    return Leader(lead=settings.lead, law=law, clock=clock, first_decay=settings.first_decay)

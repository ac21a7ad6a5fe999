"""One training run from its settings to its last epoch. Knows neither Ray nor journals."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from strsweep.config import Experiment
from strsweep.settings import RunSettings
from strsweep.tasks import Task
from strsweep.training.batch_norm import share_batch_statistics
from strsweep.training.checkpoints import State
from strsweep.training.controlled import ControlledRun, EpochMetrics
from strsweep.training.loop import InputPipeline
from strsweep.training.network import sparse_model
from strsweep.training.optimizer import RunOptimizer
from strsweep.training.schedule import learning_rate


class TrainingRun(ControlledRun):
    """The state of one run on one worker.

    It is trained on ``device``. ``images`` may have been opened for an earlier run of the same
    experiment; they say which of how many workers this is, by default the only one. With several
    the default process group must be initialized.

    Raises:
        SettingError: The model or the data do not fit the settings.
    """

    def __init__(
        self,
        experiment: Experiment,
        settings: RunSettings,
        *,
        device: torch.device,
        images: InputPipeline | None = None,
    ) -> None:
        self._device = device
        images = images or InputPipeline(experiment, 0, 1)
        model = _new_model(experiment, settings, images.task).to(device)
        if experiment.training.channels_last:
            model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if images.world_size > 1 and experiment.training.sync_batchnorm:
            model = share_batch_statistics(model, device)
        super().__init__(experiment, settings, model, images, images.steps)
        self._wrapped: tuple[bool, nn.Module] | None = None
        self._optimizer = RunOptimizer(model, self._config)
        self.step_losses: list[float] = []
        """Of the last epoch."""

    def epochs(self) -> Iterator[EpochMetrics]:
        """Train the epochs that are left, and yield after each.

        Raises:
            TrainingDivergedError: The loss became NaN or infinite.
            ImagesUnreadableError: More images cannot be read than a bad file here and there.
        """
        while len(self.history) < self.num_epochs:
            yield self._epoch(len(self.history))

    def _own_state(self) -> State:
        return {
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._stepper.scaler.state_dict(),
        }

    def _load_own(self, state: State) -> None:
        self._optimizer.load_state_dict(state["optimizer"])
        self._stepper.scaler.load_state_dict(state["scaler"])

    def _epoch(self, epoch: int) -> EpochMetrics:
        self._optimizer.set_decays(**self._begin_epoch())
        # Seeded anew every epoch, so that a resumed run draws what an uninterrupted one draws.
        torch.manual_seed(self._images.seed(epoch))
        steps = self._steps
        rates = [learning_rate(self._config, epoch, step, steps) for step in range(steps)]
        self.step_losses = self._stepper.train(
            self._network(epoch),
            self._optimizer,
            self._images.epoch(epoch),
            learning_rates=rates,
            before_step=self._before_step,
        )
        self._after_steps()
        train_loss = math.fsum(self.step_losses) / steps
        self._check_finite("training loss", train_loss)
        sums = self._stepper.evaluate(self.model, self._images.validation())
        num_unreadable, self.unreadable = self._images.unreadable()
        return self._end_epoch(
            self._images.task.metrics(sums),
            train_loss=train_loss,
            learning_rate=rates[-1],
            num_unreadable=num_unreadable,
        )

    def _network(self, epoch: int) -> nn.Module:
        """Return the model as training steps call it; it is wrapped anew when thresholds begin."""
        acts = self._settings.acts_in(epoch)
        if self._wrapped is None or self._wrapped[0] != acts:
            network: Any = self._distributed()
            if self._config.compile:  # for the training steps only: all else stays plain
                network = torch.compile(network)
            self._wrapped = acts, network
        return self._wrapped[1]

    def _distributed(self) -> nn.Module:
        if self._images.world_size == 1:
            return self.model
        devices: list[Any] | None = None if self._device.type == "cpu" else [self._device]
        return DistributedDataParallel(self.model, device_ids=devices)


def _new_model(experiment: Experiment, settings: RunSettings, task: Task) -> nn.Module:
    if experiment.training.compile:
        # Parametrized layers of every run have classes of their own: after eight runs in one
        # process torch would not compile any more, and not say so. Its caches on disk stay.
        torch.compiler.reset()
    torch.manual_seed(experiment.training.seed)
    return sparse_model(experiment, settings, task)

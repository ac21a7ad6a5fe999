"""A run whose steps are taken by a loop of the user's own: ``strsweep.attach``."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from strsweep.config import Experiment
from strsweep.errors import SettingError, blaming
from strsweep.imports import imported
from strsweep.settings import RunSettings
from strsweep.training.checkpoints import State
from strsweep.training.controlled import ControlledRun, EpochMetrics
from strsweep.training.loop import InputPipeline, of_first_worker
from strsweep.training.network import dense_model, make_sparse
from strsweep.training.optimizer import ApartThresholds
from strsweep.training.schedule import learning_rate

if TYPE_CHECKING:
    from torch.distributed.checkpoint.stateful import Stateful


@dataclass(kw_only=True)
class Assignment:
    """What a sweep wants from a loop of the user's, and what that attached."""

    experiment: Experiment
    settings: RunSettings
    images: InputPipeline
    begin: Callable[[ControlledRun], None]
    """Loads the newest checkpoint of the run, if there is one."""
    note: Callable[[ControlledRun, EpochMetrics], bool]
    """Is called after every epoch; returns whether the run is still wanted."""
    shapes: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of the tensors that the loop was given, by name."""
    run: AttachedRun | None = None

    def attached(
        self, model: nn.Module, optimizer: Optimizer, keep: Sequence[Stateful], steps: int
    ) -> AttachedRun:
        """Return the run of ``model``, which becomes sparse; arguments as of ``attach``."""
        experiment = self.experiment
        network: nn.Module = model.module if isinstance(model, DistributedDataParallel) else model
        if self.run is not None:
            remedy = "It called strsweep.attach() twice: once is for all epochs of a run."
            raise SettingError("training.loop", experiment.training.loop, remedy)
        if differing := set(self.shapes.items()) ^ set(_shapes(network).items()):
            name = min(differing)[0]
            remedy = f"attach() was given another model: they differ in {name}."
            raise SettingError("model.name", experiment.model.name, remedy)
        make_sparse(network, experiment, self.settings, self.images.task)
        self.run = AttachedRun(self, network, optimizer, keep, steps)
        return self.run


_ASSIGNMENT: ContextVar[Assignment | None] = ContextVar("assignment", default=None)


class AttachedRun(ControlledRun):
    """A run of a sweep inside a training loop of your own; made by ``strsweep.attach``.

    Thresholds belong to this handle alone: their gradients are not in ``parameter.grad``, and so no
    optimizer, clipping, ``zero_grad()`` or gradient reduction of yours touches them.
    """

    def __init__(
        self,
        assignment: Assignment,
        model: nn.Module,
        optimizer: Optimizer,
        keep: Sequence[Stateful],
        steps_per_epoch: int,
    ) -> None:
        experiment, settings = assignment.experiment, assignment.settings
        super().__init__(experiment, settings, model, assignment.images, steps_per_epoch)
        self._assignment, self._optimizer = assignment, optimizer
        self._stateful: tuple[Stateful, ...] = (optimizer, *keep)
        self._thresholds = ApartThresholds(model, self._config.momentum)
        self._step, self._is_wanted = 0, True
        _check_storable(self._stateful)
        assignment.begin(self)
        if self.goes_on:
            self._begin()

    @property
    def goes_on(self) -> bool:
        """Whether another epoch is to be trained."""
        return self._is_wanted and len(self.history) < self.num_epochs

    @property
    def is_complete(self) -> bool:
        """Whether all epochs were trained, and the run was wanted to its end."""
        return self._is_wanted and not self.goes_on

    def step(self, scaler: torch.amp.GradScaler | None = None) -> None:
        """Move the thresholds; call it once for every step of your optimizer, after ``backward()``.

        Args:
            scaler: That the loss was scaled with, before its ``update()``; None without float16.
        """
        if not self.goes_on:
            return
        epoch, config = len(self.history), self._config
        # The law counts in the steps of the experiment: an epoch of yours is as long.
        rate = learning_rate(config, epoch, min(self._step, self._steps - 1), self._steps)
        rate = rate * config.threshold_rate / config.learning_rate
        self._thresholds.step(rate * self._images.steps / self._steps, scaler)
        self._step += 1
        if self._step < self._steps:
            self._before_step(self._step)

    def epoch(self, metrics: Mapping[str, float] | None = None) -> bool:
        """End an epoch: note it, store a checkpoint where one is due, set the next decay.

        Args:
            metrics: On the validation data, the task's score among them; ``train_loss`` is taken as
                the loss of training. None: the task measures them.

        Returns:
            Whether another epoch is to be trained, the same on all workers.

        Raises:
            SettingError: The score is missing, or the steps were not those that were announced.
            TrainingDivergedError: A metric is NaN or infinite.
        """
        if not self.goes_on:
            return False
        self._check_steps()
        self._after_steps()
        # Those of the first worker: all of them must come to the same decision.
        values = self._evaluated() if metrics is None else of_first_worker(dict(metrics))
        train_loss, score = values.pop("train_loss", None), self._images.task.score.name
        if score not in values:
            remedy = f"The task is judged by it, and run.epoch() was given {sorted(values)}."
            raise SettingError("task.score", score, remedy)
        group = self._optimizer.param_groups[0]
        self._decays["weights"] = float(group.get("weight_decay", 0.0))
        done = self._end_epoch(values, train_loss=train_loss, learning_rate=float(group["lr"]))
        self._is_wanted = self._assignment.note(self, done)
        if self.goes_on:
            self._begin()
        return self.goes_on

    def _own_state(self) -> State:
        kept = [kept.state_dict() for kept in self._stateful]
        return {"thresholds": self._thresholds.state_dict(), "kept": kept}

    def _load_own(self, state: State) -> None:
        self._thresholds.load_state_dict(state["thresholds"])
        for kept, of_it in zip(self._stateful, state["kept"], strict=True):
            kept.load_state_dict(of_it)

    def _begin(self) -> None:
        self._step = 0
        self._thresholds.decay = self._begin_epoch()["thresholds"]
        self._before_step(0)
        torch.manual_seed(self._images.seed(len(self.history)))

    def _evaluated(self) -> dict[str, float]:
        was_training = self.model.training
        sums = self._stepper.evaluate(self.model, self._images.validation())
        self.model.train(was_training)
        self._images.unreadable()  # raises where they are many
        return self._images.task.metrics(sums)

    def _check_steps(self) -> None:
        if self._step != self._steps:
            remedy = (
                f"attach() was told of {self._steps} steps per epoch, and run.step() was called "
                f"{self._step} times: call it after each step of the optimizer."
            )
            raise SettingError("training.loop", self._config.loop, remedy)

    @property
    def _remedy(self) -> str:
        return "the learning rate of your loop"


def attach(
    model: nn.Module,
    optimizer: Optimizer,
    *,
    steps_per_epoch: int,
    keep: Sequence[Stateful] = (),
) -> AttachedRun:
    """Put thresholds on ``model`` in a training loop of your own, and let the sweep control them.

    The loop is a function that the experiment names, ``training.loop: my_module:train``. A sweep
    calls it for every run, on every Ray Train worker, with the model and the task::

        def train(model, task):
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
            batches = DataLoader(task.train, 64, shuffle=True)
            run = strsweep.attach(model, optimizer, steps_per_epoch=len(batches))
            while run.goes_on:
                for images, labels in batches:
                    optimizer.zero_grad()
                    F.cross_entropy(model(images), labels).backward()
                    optimizer.step()
                    run.step()
                run.epoch()

    Args:
        model: Of the structure that the experiment names, on its device.
        optimizer: Of its parameters; stored and restored with the run.
        steps_per_epoch: Steps that ``optimizer`` takes in an epoch.
        keep: What else is stored and restored, such as a learning-rate schedule.

    Raises:
        SettingError: No sweep runs this loop, the model is another one than the experiment's, or a
            state in ``keep`` cannot be stored.
        StorageError: The storage refuses, or was unavailable too long.
    """
    assignment = _ASSIGNMENT.get()
    if assignment is None:
        remedy = "Name this loop there, and let a sweep call it."
        raise SettingError("training.loop", None, remedy)
    return assignment.attached(model, optimizer, keep, steps_per_epoch)


def loop_run(assignment: Assignment) -> AttachedRun:
    """Let the user's loop train a run, and return it.

    Raises:
        SettingError: The loop cannot be imported, attached to nothing, or ended too early.
    """
    config = assignment.experiment.training
    assert config.loop is not None
    train = imported(config.loop, "training.loop")
    torch.manual_seed(config.seed)
    task = assignment.images.task
    model = dense_model(assignment.experiment, task)
    assignment.shapes = _shapes(model)
    token = _ASSIGNMENT.set(assignment)
    try:
        train(model, task, **config.loop_options)
    finally:
        _ASSIGNMENT.reset(token)
    run = assignment.run
    if run is None:
        remedy = "It returned without a call of strsweep.attach()."
        raise SettingError("training.loop", config.loop, remedy)
    if run.goes_on:
        done = f"{len(run.history)} of {run.num_epochs} epochs"
        remedy = f"It returned after {done}: train while run.goes_on."
        raise SettingError("training.loop", config.loop, remedy)
    return run


def _shapes(model: nn.Module) -> dict[str, Any]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _check_storable(kept: Sequence[Stateful]) -> None:
    """Check that checkpoints with these states can be read without unpickling code."""
    for one in kept:
        remedy = "Its state must be numbers, texts and tensors"
        with blaming("attach(keep=...)", type(one).__name__, remedy):
            content = io.BytesIO()
            torch.save(one.state_dict(), content)
            content.seek(0)
            torch.load(content, weights_only=True)

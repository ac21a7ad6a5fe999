"""The optimizer of the weights, whichever it is, and the SGD that moves the thresholds.

Thresholds stay with SGD: under Adam their decay stops short, or the size of their gradient, from
which the layers' budgets are learned, is divided away.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, AdamW, Optimizer

from strsweep.config import TrainingConfig
from strsweep.errors import SettingError, blaming
from strsweep.imports import imported
from strsweep.sparsity.convert import threshold_parameters
from strsweep.sparsity.steering import bound_gradients

_ROLE = "role"
"""Key of a parameter group: ``weights``, ``thresholds`` or ``norms``."""


class RunOptimizer:
    """Takes the steps of one run.

    Learning rates are set before every step by the schedule, decays before every epoch.

    The thresholds of ``model`` are on it already.

    Raises:
        SettingError: The optimizer cannot be made.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        self._config = config
        thresholds = threshold_parameters(model)
        self.weights = _optimizer(config, _weight_groups(model, thresholds))
        self.thresholds = _sgd_of_thresholds(model, thresholds, config.momentum)
        self._weights = [p for group in self.weights.param_groups for p in group["params"]]

    def set_learning_rate(self, rate: float) -> None:
        """Step by ``rate`` from now on; thresholds by their own, in proportion."""
        config = self._config
        of_thresholds = rate * config.threshold_rate / config.learning_rate
        for optimizer in self._both:
            for group in optimizer.param_groups:
                group["lr"] = of_thresholds if group[_ROLE] == "thresholds" else rate

    def set_decays(self, *, weights: float, thresholds: float, norms: float) -> None:
        """Decay the three kinds of parameters by so much from now on.

        As published all three are one number, batch norm and thresholds included: the decay of the
        thresholds is what raises them (section 3).
        """
        decays = {"weights": weights, "thresholds": thresholds, "norms": norms}
        for optimizer in self._both:
            for group in optimizer.param_groups:
                group["weight_decay"] = decays[group[_ROLE]]

    def step(self, loss: torch.Tensor, scaler: torch.amp.GradScaler) -> None:
        """Differentiate ``loss`` and take a step.

        ``scaler`` is that of float16, and passes all through otherwise.
        """
        for optimizer in self._both:
            optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        if self._config.clip_gradients is not None:
            scaler.unscale_(self.weights)  # of thresholds the size says how layers share
            nn.utils.clip_grad_norm_(self._weights, self._config.clip_gradients)
        for optimizer in self._both:
            # Thresholds that do not act have none, and a scaler refuses such an optimizer.
            if any(p.grad is not None for group in optimizer.param_groups for p in group["params"]):
                scaler.step(optimizer)
        scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step depends on."""
        thresholds = self.thresholds
        return {
            "weights": self.weights.state_dict(),
            "thresholds": None if thresholds is None else thresholds.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state`` was taken."""
        self.weights.load_state_dict(state["weights"])
        if self.thresholds is not None:
            self.thresholds.load_state_dict(state["thresholds"])

    @property
    def _both(self) -> tuple[Optimizer, ...]:
        return (self.weights,) if self.thresholds is None else (self.weights, self.thresholds)


class ApartThresholds:
    """Moves the thresholds of a model whose other parameters a loop of the user's moves.

    It takes their gradients away as soon as they are there, so that nobody clips, zeroes, reduces
    or follows them.
    """

    def __init__(self, model: nn.Module, momentum: float) -> None:
        self._parameters = threshold_parameters(model)
        self._gradients: dict[nn.Parameter, Tensor] = {}
        self._optimizer = _sgd_of_thresholds(model, self._parameters, momentum)
        self.decay = 0.0
        """Weight decay of the next steps."""
        own = {id(parameter) for parameter in self._parameters}
        names = [name for name, p in model.named_parameters() if id(p) in own]
        # A wrapper made later would wait for gradients that it never sees.
        ignore = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model  # pyright: ignore[reportPrivateUsage]
        ignore(model, names)
        for parameter in self._parameters:
            parameter.register_post_accumulate_grad_hook(self._take)

    def step(self, rate: float, scaler: torch.amp.GradScaler | None) -> None:
        """Step by ``rate`` with what ``backward()`` gave since the last step."""
        if self._optimizer is None:
            return
        learning = [p for p in self._parameters if p.requires_grad]
        self._give_gradients(learning)
        group = self._optimizer.param_groups[0]
        group["lr"], group["weight_decay"] = rate, self.decay
        if scaler is None or not learning:  # it refuses an optimizer without gradients
            self._optimizer.step()
        else:
            scaler.step(self._optimizer)
        self._optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any] | None:
        """Return what the next step depends on."""
        return None if self._optimizer is None else self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Continue where ``state`` was taken."""
        if self._optimizer is not None and state is not None:
            self._optimizer.load_state_dict(state)

    def _take(self, parameter: Tensor) -> None:
        assert isinstance(parameter, nn.Parameter)
        assert parameter.grad is not None
        before = self._gradients.get(parameter)
        gradient, parameter.grad = parameter.grad, None
        self._gradients[parameter] = gradient if before is None else before + gradient

    def _give_gradients(self, learning: list[nn.Parameter]) -> None:
        """Set the gradients, the mean over all workers as DistributedDataParallel has it."""
        if learning and not self._gradients:
            remedy = "run.step() was called without a backward() before: no gradient came."
            raise SettingError("training.loop", None, remedy)
        zeros = [torch.zeros_like(parameter) for parameter in learning]
        found = [self._gradients.pop(p, zero) for p, zero in zip(learning, zeros, strict=True)]
        if learning and dist.is_initialized():
            together = torch.cat([gradient.flatten() for gradient in found])
            dist.all_reduce(together)
            together /= dist.get_world_size()
            parts = together.split([gradient.numel() for gradient in found])
            found = [part.view_as(p) for part, p in zip(parts, learning, strict=True)]
        for parameter, gradient in zip(learning, found, strict=True):
            parameter.grad = gradient


def _sgd_of_thresholds(
    model: nn.Module, thresholds: list[nn.Parameter], momentum: float
) -> SGD | None:
    """Return what moves the thresholds of ``model``; None if it has none."""
    if not thresholds:
        return None
    sgd = SGD([{"params": thresholds, _ROLE: "thresholds"}], lr=0.0, momentum=momentum)
    bound_gradients(model, sgd)
    return sgd


def _weight_groups(model: nn.Module, thresholds: list[nn.Parameter]) -> list[dict[str, Any]]:
    norms = [
        parameter
        for module in model.modules()
        if isinstance(module, _BatchNorm)
        for parameter in module.parameters(recurse=False)
    ]
    apart = {id(parameter) for parameter in (*thresholds, *norms)}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in apart]
    roles = {"weights": rest, "norms": norms}
    return [{"params": params, _ROLE: role} for role, params in roles.items() if params]


def _optimizer(config: TrainingConfig, groups: list[dict[str, Any]]) -> Optimizer:
    options: dict[str, Any] = {"lr": 0.0, **config.optimizer_options}
    if config.optimizer == "sgd":
        options = {"momentum": config.momentum, **options}
    known = {"sgd": SGD, "adamw": AdamW}
    make: Any = known.get(config.optimizer) or imported(config.optimizer, "training.optimizer")
    told = f"{config.optimizer} refuses them"
    with blaming("training.optimizer_options", config.optimizer_options, told):
        made: object = make(groups, **options)
    if not isinstance(made, Optimizer) or any(_ROLE not in g for g in made.param_groups):
        remedy = "It must be called as torch.optim.AdamW is, and keep the parameter groups."
        raise SettingError("training.optimizer", config.optimizer, remedy)
    return made

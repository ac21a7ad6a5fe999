"""The optimizer of the weights, whichever it is, and the SGD that moves the thresholds.

Thresholds stay with SGD: under Adam their decay stops short, or the size of their gradient, from
which the layers' budgets are learned, is divided away.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.optim import SGD, AdamW, Optimizer

from strsweep.config import TrainingConfig
from strsweep.errors import SettingError
from strsweep.imports import imported
from strsweep.sparsity.convert import threshold_parameters

_ROLE = "role"
"""Key of a parameter group: ``weights``, ``thresholds`` or ``norms``."""


class RunOptimizer:
    """Takes the steps of one run.

    Learning rates are set before every step by the schedule, decays before every epoch.

    Args:
        model: Whose parameters are optimized; its thresholds are on it already.
        config: Names the optimizer.

    Raises:
        SettingError: The optimizer cannot be made.
    """

    def __init__(self, model: nn.Module, config: TrainingConfig) -> None:
        self._config = config
        thresholds = threshold_parameters(model)
        self.weights = _optimizer(config, _weight_groups(model, thresholds))
        self.thresholds: SGD | None = None
        if thresholds:
            group = {"params": thresholds, _ROLE: "thresholds"}
            self.thresholds = SGD([group], lr=0.0, momentum=config.momentum)
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

        Args:
            loss: Of the batch.
            scaler: Of float16; a pass-through otherwise.
        """
        for optimizer in self._both:
            optimizer.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        if self._config.clip_gradients is not None:
            scaler.unscale_(self.weights)  # of thresholds the size says how layers share
            nn.utils.clip_grad_norm_(self._weights, self._config.clip_gradients)
        for optimizer in self._both:
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
    try:
        made: object = make(groups, **options)
    except Exception as error:  # a user's own code can raise anything
        raise SettingError(
            "training.optimizer_options",
            config.optimizer_options,
            f"{config.optimizer} refuses them: {type(error).__name__}: {error}",
        ) from error
    if not isinstance(made, Optimizer) or any(_ROLE not in g for g in made.param_groups):
        remedy = "It must be called as torch.optim.AdamW is, and keep the parameter groups."
        raise SettingError("training.optimizer", config.optimizer, remedy)
    return made

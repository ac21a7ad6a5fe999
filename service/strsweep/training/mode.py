"""What makes the network sparse: thresholds, learned or steered, a budget to obey, or nothing."""

from __future__ import annotations

from typing import Any

from torch import nn

from strsweep.config import Experiment, RunSettings, SparsityConfig
from strsweep.errors import SettingError
from strsweep.sparsity import (
    Budget,
    WeightTensor,
    obey,
    ramp,
    sparsify,
    steer,
    steerable,
    weight_tensors,
)
from strsweep.sparsity.layers import without
from strsweep.sparsity.magnitude import cubic_share

_GMP_RAMP = (0.2, 0.8)
"""Epochs 20 to 80 of 100, in the authors' code."""
_STEERED_RAMP = (0.0, 0.55)


def make_sparse(model: nn.Module, experiment: Experiment, settings: RunSettings) -> nn.Module:
    """Put thresholds or masks on ``model``, in place, as ``sparsity.mode`` says.

    Raises:
        SettingError: A layer to skip does not exist, or the budget does not fit the model.
    """
    config = experiment.sparsity
    try:
        without(weight_tensors(model), config.skip)  # also where the method has no use for it
        if config.mode == "str":
            assert settings.threshold_init is not None
            return sparsify(
                model, threshold_init=settings.threshold_init, **_thresholds(config, model)
            )
        if config.mode == "steered":
            assert settings.sparsity is not None
            steerable(model, **_thresholds(config, model))
            steer(model, settings.sparsity)  # says now if it cannot be reached at the end
            steer(model, 0.0)
            return model
        if config.mode == "dense":
            return model
    except ValueError as error:
        raise SettingError("sparsity.skip", list(config.skip), str(error)) from error
    try:
        return obey(model, densities(model, config, settings), config.mode)
    except ValueError as error:
        budget = config.budget
        shown = f"of {len(budget)} layers" if isinstance(budget, dict) else budget
        raise SettingError("sparsity.budget", shown, str(error)) from error


def densities(model: nn.Module, config: SparsityConfig, settings: RunSettings) -> dict[str, float]:
    """Return layer name -> density of the budget that the run obeys.

    Raises:
        ValueError: A layer to leave dense does not exist, or leaves too little to prune.
    """
    if isinstance(config.budget, dict):
        _check_dense_in_budget(config, model, config.budget)
        return config.budget
    assert settings.sparsity is not None
    rule = Budget.erk if config.budget == "erk" else Budget.uniform
    return rule(model, settings.sparsity, dense=_dense_layers(config, model)).densities


def before_epoch(model: nn.Module, experiment: Experiment, epoch: int) -> None:
    """Set how much is pruned in ``epoch``, from 0: gradual pruning goes on once an epoch."""
    if experiment.sparsity.mode == "gmp":
        epochs = experiment.training.epochs
        start, end = (share * epochs for share in experiment.sparsity.ramp or _GMP_RAMP)
        # A short run, or a ramp up to 1, would end below its budget: the last epoch has all of it.
        ramp(model, 1.0 if epoch == epochs - 1 else (epoch - start) / (end - start))


class Steering:
    """Shifts the thresholds of a steered model, every few steps and at the end of an epoch.

    The wanted sparsity follows ``1 - (1 - x)^3`` of the target over the ramp, as in gradual
    pruning; from its end on it stays at the target, while weights and thresholds learn on.

    Args:
        model: Of the run; any mode. Only a steered one is touched.
        experiment: Says ramp and rhythm.
        settings: Says the target.
        steps_per_epoch: Steps of an epoch.
    """

    def __init__(
        self,
        model: nn.Module,
        experiment: Experiment,
        settings: RunSettings,
        steps_per_epoch: int,
    ) -> None:
        self._model = model
        self._is_on = experiment.sparsity.mode == "steered"
        self._every = experiment.sparsity.steer_every
        self._target = settings.sparsity or 0.0
        self._steps_per_epoch = steps_per_epoch
        steps = steps_per_epoch * experiment.training.epochs
        self._start, self._end = (
            share * steps for share in experiment.sparsity.ramp or _STEERED_RAMP
        )
        self._last = steps

    def before_step(self, epoch: int, step: int) -> None:
        """Shift the thresholds if it is time to."""
        if self._is_on and step % self._every == 0:
            steer(self._model, self._wanted(epoch * self._steps_per_epoch + step))

    def after_epoch(self, epoch: int) -> None:
        """Shift the thresholds to where they are evaluated; exactly on target after the last."""
        if self._is_on:
            steer(self._model, self._wanted((epoch + 1) * self._steps_per_epoch))

    def _wanted(self, step: int) -> float:
        if step >= min(self._end, self._last):
            return self._target
        return self._target * cubic_share((step - self._start) / (self._end - self._start))


def _check_dense_in_budget(
    config: SparsityConfig, model: nn.Module, budget: dict[str, float]
) -> None:
    weights = weight_tensors(model)
    pruned = {weight.name for weight in without(weights, _dense_layers(config, model))}
    for weight in weights:
        if weight.name not in pruned and budget.get(weight.name, 1.0) < 1:
            raise ValueError(
                f"sparsity.skip, dense_first or dense_last leave {weight.name} dense, the budget "
                f"keeps {budget[weight.name]:.2%} of it: change one of them"
            )


def _thresholds(config: SparsityConfig, model: nn.Module) -> dict[str, Any]:
    return {
        "function": config.function,
        "granularity": config.granularity,
        "scale": config.scale,
        "skip": _dense_layers(config, model),
    }


def _dense_layers(config: SparsityConfig, model: nn.Module) -> tuple[str, ...]:
    weights = weight_tensors(model)
    dense = [
        *(_names(weights[:1]) if config.dense_first else ()),
        *(_names(weights[-1:]) if config.dense_last else ()),
    ]
    return (*config.skip, *dense)


def _names(weights: list[WeightTensor]) -> list[str]:
    return [use.name for weight in weights for use in weight.uses]

"""What makes the network sparse: thresholds of some kind, a budget to obey, or nothing."""

from __future__ import annotations

from typing import Any

from torch import nn

from strsweep.config import Experiment, SparsityConfig
from strsweep.errors import SettingError, TrainingDivergedError
from strsweep.settings import RunSettings
from strsweep.sparsity import (
    activate_thresholds,
    obey,
    ramp,
    schedulable,
    set_threshold_parameters,
    sparsify,
    steer,
    steerable,
    weight_tensors,
)
from strsweep.sparsity.layers import without
from strsweep.sparsity.magnitude import cubic_share
from strsweep.sparsity.steering import is_out_of_reach
from strsweep.training.budget import InputShape, dense_layers, densities, uses_of

_GMP_RAMP = (0.2, 0.8)
"""Epochs 20 to 80 of 100, in the authors' code."""
_STEERINGS, _RAREST = 1000, 10
"""Unless said, thresholds are shifted so often in a run, but after ten steps at the latest."""
_RAMPS = {"steered": (0.0, 0.55), "scheduled": (0.05, 0.5)}
"""Of ``scheduled``: epochs 5 to 50 of 100, in the code of ST-3's authors."""


def make_sparse(
    model: nn.Module,
    experiment: Experiment,
    settings: RunSettings,
    input_shape: InputShape | None = None,
) -> nn.Module:
    """Put thresholds or masks on ``model``, in place, as ``sparsity.mode`` says.

    Raises:
        SettingError: A layer to skip does not exist, or the budget does not fit the model.
    """
    config = experiment.sparsity
    if settings.is_dense and config.mode != "str":
        return model
    try:
        without(weight_tensors(model), config.skip)  # also where the method has no use for it
        if config.mode not in ("gmp", "dnw"):
            return _with_thresholds(model, config, settings, input_shape)
    except ValueError as error:
        raise SettingError("sparsity.skip", list(config.skip), str(error)) from error
    try:
        return obey(model, densities(model, config, settings, input_shape), config.mode)
    except ValueError as error:
        budget = config.budget
        shown = f"of {len(budget)} layers" if isinstance(budget, dict) else budget
        raise SettingError("sparsity.budget", shown, str(error)) from error


def before_epoch(
    model: nn.Module, experiment: Experiment, settings: RunSettings, epoch: int
) -> None:
    """Set what is pruned in ``epoch``, from 0: thresholds begin to act, gradual pruning goes on."""
    if experiment.sparsity.mode == "str" and (settings.onset or settings.is_dense):
        activate_thresholds(model, thresholds_act(settings, epoch))
        if epoch == settings.onset:
            assert settings.threshold_init is not None
            set_threshold_parameters(model, settings.threshold_init)
    if experiment.sparsity.mode == "gmp" and not settings.is_dense:
        epochs = experiment.training.epochs
        start, end = (share * epochs for share in experiment.sparsity.ramp or _GMP_RAMP)
        # A short run, or a ramp up to 1, would end below its budget: the last epoch has all of it.
        ramp(model, 1.0 if epoch == epochs - 1 else (epoch - start) / (end - start))


def thresholds_act(settings: RunSettings, epoch: int) -> bool:
    """Return whether thresholds prune in ``epoch``, from 0."""
    return not settings.is_dense and epoch >= settings.onset


class Steering:
    """Sets the thresholds of a steered or scheduled model while it trains.

    The share to prune follows ``1 - (1 - x)^3`` of the target over the ramp, as in gradual
    pruning; from its end on it stays at the target, while the weights, and steered thresholds,
    learn on. A share is one of weights, or of multiply-adds if the run is told those.

    Args:
        model: Of the run; any mode. Only a steered or scheduled one is touched.
        experiment: Says ramp and rhythm.
        settings: Says the target.
        steps_per_epoch: Steps of an epoch.
        input_shape: See ``InputShape``.
    """

    def __init__(
        self,
        model: nn.Module,
        experiment: Experiment,
        settings: RunSettings,
        steps_per_epoch: int,
        input_shape: InputShape | None = None,
    ) -> None:
        config = experiment.sparsity
        self._model = model
        self._is_on = config.mode in _RAMPS and not settings.is_dense
        self._target = settings.pruned_share
        self._uses = uses_of(model, settings, input_shape) if self._is_on else None
        self._steps_per_epoch = steps_per_epoch
        self._last = steps_per_epoch * experiment.training.epochs
        self._every = _steer_every(config, self._last)
        shares = config.ramp or _RAMPS.get(config.mode, (0.0, 1.0))
        self._start, self._end = (share * self._last for share in shares)

    def before_step(self, epoch: int, step: int) -> None:
        """Set the thresholds if it is time to."""
        step += epoch * self._steps_per_epoch
        if self._is_on and step % self._every == 0:
            self._prune(step)

    def after_epoch(self, epoch: int) -> None:
        """Set the thresholds to where they are evaluated; exactly on target after the last.

        Raises:
            TrainingDivergedError: Weights grew above all that a sigmoid threshold can prune.
        """
        if self._is_on:
            self._prune((epoch + 1) * self._steps_per_epoch, exactly=True)
            if is_out_of_reach(self._model):
                raise TrainingDivergedError(
                    f"weights grew above sparsity.scale in epoch {epoch + 1}, which no sigmoid "
                    "threshold can prune: lower training.learning_rate, or use "
                    "sparsity.function=exp"
                )

    def _prune(self, step: int, *, exactly: bool = False) -> None:
        steer(self._model, self._wanted(step), self._uses, exactly=exactly)

    def _wanted(self, step: int) -> float:
        if step >= min(self._end, self._last):
            return self._target
        return self._target * cubic_share((step - self._start) / (self._end - self._start))


def _steer_every(config: SparsityConfig, steps: int) -> int:
    if config.mode != "steered":
        return 1
    if config.steer_every == "auto":
        return min(max(steps // _STEERINGS, 1), _RAREST)
    return config.steer_every


def _with_thresholds(
    model: nn.Module,
    config: SparsityConfig,
    settings: RunSettings,
    input_shape: InputShape | None,
) -> nn.Module:
    if config.mode == "dense":
        return model
    if config.mode == "str":
        assert settings.threshold_init is not None
        return sparsify(model, threshold_init=settings.threshold_init, **_thresholds(config, model))
    uses = uses_of(model, settings, input_shape)
    if config.mode == "steered":
        steerable(model, **_thresholds(config, model))
    else:
        schedulable(model, skip=dense_layers(config, model))
    steer(model, settings.pruned_share, uses)  # says now if it cannot be reached at the end
    steer(model, 0.0, uses)
    return model


def _thresholds(config: SparsityConfig, model: nn.Module) -> dict[str, Any]:
    return {
        "function": config.function,
        "granularity": config.granularity,
        "scale": config.scale,
        "skip": dense_layers(config, model),
    }

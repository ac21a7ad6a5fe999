"""What makes the network sparse: learned thresholds, a budget to obey, or nothing."""

from __future__ import annotations

from torch import nn

from strsweep.config import Experiment, RunSettings, SparsityConfig
from strsweep.errors import SettingError
from strsweep.sparsity import Budget, WeightTensor, obey, ramp, sparsify, weight_tensors
from strsweep.sparsity.layers import without


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
                model,
                threshold_init=settings.threshold_init,
                function=config.function,
                granularity=config.granularity,
                scale=config.scale,
                skip=_dense_layers(config, model),
            )
        if config.mode == "dense":
            return model
    except ValueError as error:
        raise SettingError("sparsity.skip", list(config.skip), str(error)) from error
    try:
        return obey(model, densities(model, config, settings), config.mode)
    except ValueError as error:
        raise SettingError("sparsity.budget", config.budget, str(error)) from error


def densities(model: nn.Module, config: SparsityConfig, settings: RunSettings) -> dict[str, float]:
    """Return layer name -> density of the budget that the run obeys.

    Raises:
        ValueError: A layer to leave dense does not exist, or leaves too little to prune.
    """
    if isinstance(config.budget, dict):
        return config.budget
    assert settings.sparsity is not None
    rule = Budget.erk if config.budget == "erk" else Budget.uniform
    return rule(model, settings.sparsity, dense=_dense_layers(config, model)).densities


def before_epoch(model: nn.Module, experiment: Experiment, epoch: int) -> None:
    """Set how much is pruned in ``epoch``, from 0: gradual pruning goes on once an epoch."""
    config = experiment.sparsity
    if config.mode == "gmp":
        epochs = experiment.training.epochs
        start, end = (share * epochs for share in config.ramp)
        # A short run, or a ramp up to 1, would end below its budget: the last epoch has all of it.
        ramp(model, 1.0 if epoch == epochs - 1 else (epoch - start) / (end - start))


def _dense_layers(config: SparsityConfig, model: nn.Module) -> tuple[str, ...]:
    weights = weight_tensors(model)
    dense = [
        *(_names(weights[:1]) if config.dense_first else ()),
        *(_names(weights[-1:]) if config.dense_last else ()),
    ]
    return (*config.skip, *dense)


def _names(weights: list[WeightTensor]) -> list[str]:
    return [use.name for weight in weights for use in weight.uses]

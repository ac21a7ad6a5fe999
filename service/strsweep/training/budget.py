"""What a run is told: the budget it obeys, layers that stay dense, how often weights are used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from strsweep.config import SparsityConfig
from strsweep.settings import RunSettings
from strsweep.sparsity import Budget, Uses, WeightTensor, weight_tensors, weight_uses
from strsweep.sparsity.layers import without

InputShape = Sequence[int]
"""Of one input without the batch; a run that is told its multiply-adds needs it."""


def densities(
    model: nn.Module,
    config: SparsityConfig,
    settings: RunSettings,
    input_shape: InputShape | None = None,
) -> dict[str, float]:
    """Return layer name -> density of the budget that the run obeys.

    Raises:
        ValueError: A layer to leave dense does not exist, or leaves too little to prune.
    """
    if isinstance(config.budget, dict):
        _check_dense_in_budget(config, model, config.budget)
        return config.budget
    rule = partial(
        Budget.erk if config.budget == "erk" else Budget.uniform,
        model,
        dense=dense_layers(config, model),
    )
    uses = uses_of(model, settings, input_shape)
    if uses is None:
        assert settings.sparsity is not None
        return rule(settings.sparsity).densities
    assert settings.macs is not None
    return _densities_for_macs(rule, settings.macs, uses)


def uses_of(
    model: nn.Module, settings: RunSettings, input_shape: InputShape | None
) -> dict[str, float] | None:
    """Return how often the weights are used, if the run is told its multiply-adds."""
    if settings.macs is None:
        return None
    assert input_shape is not None, "multiply-adds are counted for an input"
    return weight_uses(model, input_shape)


def dense_layers(config: SparsityConfig, model: nn.Module) -> tuple[str, ...]:
    """Return names and patterns of all layers that ``config`` leaves dense."""
    weights = weight_tensors(model)
    dense = [
        *(_names(weights[:1]) if config.dense_first else ()),
        *(_names(weights[-1:]) if config.dense_last else ()),
    ]
    return (*config.skip, *dense)


def _densities_for_macs(
    rule: Callable[[float], Budget], macs: float, uses: Uses
) -> dict[str, float]:
    """Return the densities of the least sparse budget of ``rule`` that keeps at most ``macs``."""
    found: dict[str, float] | None = None
    low, high = 0.0, 1.0
    for _ in range(50):  # halving: to the last digit
        sparsity = (low + high) / 2
        try:
            budget = rule(sparsity)
        except ValueError:  # more than the layers that stay dense leave to prune
            high = sparsity
            continue
        if _macs_share(budget, uses) > macs:
            low = sparsity
        else:
            high, found = sparsity, budget.densities
    if found is None:
        raise ValueError(
            f"{macs:.2%} of the multiply-adds cannot be reached: leave fewer layers dense"
        )
    return found


def _macs_share(budget: Budget, uses: Uses) -> float:
    """Return the share of the dense network's multiply-adds that ``budget`` keeps."""
    dense = {layer.name: layer.weights * uses[layer.name] for layer in budget.layers}
    return sum(dense[layer.name] * layer.density for layer in budget.layers) / sum(dense.values())


def _check_dense_in_budget(
    config: SparsityConfig, model: nn.Module, budget: dict[str, float]
) -> None:
    weights = weight_tensors(model)
    pruned = {weight.name for weight in without(weights, dense_layers(config, model))}
    for weight in weights:
        if weight.name not in pruned and budget.get(weight.name, 1.0) < 1:
            raise ValueError(
                f"sparsity.skip, dense_first or dense_last leave {weight.name} dense, the budget "
                f"keeps {budget[weight.name]:.2%} of it: change one of them"
            )


def _names(weights: list[WeightTensor]) -> list[str]:
    return [use.name for weight in weights for use in weight.uses]

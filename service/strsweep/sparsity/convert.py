"""Put soft thresholds on any stock torch model, and make them permanent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeVar

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd  # pyright: ignore[reportPrivateUsage]
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from strsweep.sparsity.threshold import SoftThreshold, ThresholdFunction

Granularity = Literal["layer"]
WeightLayer = _ConvNd | nn.Linear
AnyModule = TypeVar("AnyModule", bound=nn.Module)


def weight_layers(model: nn.Module) -> Iterator[tuple[str, WeightLayer]]:
    """Yield the layers whose weights count towards sparsity: every convolution and linear layer.

    Batch norm and biases do not count (appendix A.7). A layer that is used twice is yielded once.
    """
    for name, module in model.named_modules():
        if isinstance(module, WeightLayer):
            yield name, module


def layer_threshold(layer: nn.Module) -> SoftThreshold | None:
    """Return the soft threshold on the weight of ``layer``, or None if it is dense."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    parametrizations: Any = layer.parametrizations
    stack: list[nn.Module] = list(parametrizations["weight"])
    return next((step for step in stack if isinstance(step, SoftThreshold)), None)


def sparsify(
    model: AnyModule,
    *,
    threshold_init: float,
    function: ThresholdFunction = "sigmoid",
    granularity: Granularity = "layer",
    skip: Sequence[str] = (),
) -> AnyModule:
    """Give every convolution and linear weight of ``model`` a learnable threshold, in place.

    Args:
        model: Any module; its layers stay what they are (a parametrization is registered).
        threshold_init: First value of every threshold parameter.
        function: Maps the threshold parameter to the threshold.
        granularity: ``layer``: one threshold per layer.
        skip: Layer names to leave dense; shell patterns such as ``"layer1.*"``.

    Returns:
        ``model`` itself.

    Raises:
        ValueError: A pattern matches no layer, the model has no layer left to sparsify, is
            sparsified already, or an argument is unknown. The model is unchanged then.
    """
    if granularity != "layer":
        raise ValueError(f"granularity: got {granularity!r}, use 'layer'")
    chosen = _chosen(model, skip)
    thresholds = [SoftThreshold(threshold_init, function) for _ in chosen]
    for (_, layer), threshold in zip(chosen, thresholds, strict=True):
        threshold.to(layer.weight.device, torch.promote_types(layer.weight.dtype, torch.float32))
        parametrize.register_parametrization(layer, "weight", threshold)
    return model


def bake(model: AnyModule) -> AnyModule:
    """Replace every thresholded weight by its value, in place, and drop the thresholds.

    Afterwards the model is plain: the parameter names, classes and outputs are those of a model
    that never met this library, and pruned weights are exact zeros.

    Returns:
        ``model`` itself.
    """
    for _, layer in list(weight_layers(model)):
        if layer_threshold(layer) is not None:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return model


def threshold_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the threshold parameters ``s`` of ``model`` in the order of its layers."""
    thresholds = (layer_threshold(layer) for _, layer in weight_layers(model))
    return [threshold.s for threshold in thresholds if threshold is not None]


def _chosen(model: nn.Module, skip: Sequence[str]) -> list[tuple[str, WeightLayer]]:
    layers = list(weight_layers(model))
    for pattern in skip:
        if not any(fnmatchcase(name, pattern) for name, _ in layers):
            raise ValueError(
                f"skip: {pattern!r} matches no layer; the layers are {[name for name, _ in layers]}"
            )
    chosen = [
        (name, layer)
        for name, layer in layers
        if not any(fnmatchcase(name, pattern) for pattern in skip)
    ]
    if not chosen:
        raise ValueError("the model has no convolution or linear layer to sparsify")
    for name, layer in chosen:
        if isinstance(layer.weight, UninitializedParameter):
            raise ValueError(f"{name} has no weights yet: run the model once before sparsify()")
    if any(layer_threshold(layer) is not None for _, layer in layers):
        raise ValueError("the model has soft thresholds already; bake() removes them")
    return chosen

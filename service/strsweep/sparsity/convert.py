"""Put soft thresholds on any stock torch model, and make them permanent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeVar, get_args

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from strsweep.sparsity.layers import WeightTensor, WeightUse, weight_tensors, without
from strsweep.sparsity.threshold import SoftThreshold, ThresholdFunction

Granularity = Literal["layer", "global", "filter", "weight"]
AnyModule = TypeVar("AnyModule", bound=nn.Module)


def sparsify(
    model: AnyModule,
    *,
    threshold_init: float,
    function: ThresholdFunction = "sigmoid",
    granularity: Granularity = "layer",
    scale: float = 1.0,
    skip: Sequence[str] = (),
) -> AnyModule:
    """Give every convolution and linear weight of ``model`` a learnable threshold, in place.

    Args:
        model: Any module; its layers stay what they are (a parametrization is registered).
        threshold_init: First value of every threshold parameter.
        function: Maps the threshold parameter to the threshold.
        granularity: What one threshold is for: a ``layer`` (the paper), the whole model
            (``global``, the paper's STR-GS, appendix A.5.1), an output ``filter``, or a single
            ``weight`` (appendix A.5.3: very sparse, high variance).
        scale: Factor k of the threshold function (appendix A.1).
        skip: Layer names to leave dense; shell patterns such as ``"layer1.*"``.

    Returns:
        ``model`` itself.

    Raises:
        ValueError: A pattern matches no layer, the model has no layer left to sparsify, is
            sparsified already, or an argument is unknown. The model is unchanged then.
    """
    if granularity not in get_args(Granularity):
        raise ValueError(f"granularity: got {granularity!r}, use one of {get_args(Granularity)}")
    chosen = prunable(model, skip)
    shared = SoftThreshold(threshold_init, function, scale=scale)
    for weight in chosen:
        shape = _threshold_shape(weight, granularity)
        own = SoftThreshold(threshold_init, function, scale=scale, shape=shape)
        parametrized(weight, shared if granularity == "global" else own)
    return model


def bake(model: AnyModule) -> AnyModule:
    """Replace every thresholded or masked weight by its value, in place.

    Afterwards the model is plain: the parameter names, classes, ties and outputs are those of a
    model that never met this library, and pruned weights are exact zeros.

    Returns:
        ``model`` itself.
    """
    for weight in weight_tensors(model):
        if not _is_parametrized(weight.uses[0]):
            continue
        # A copy, before the original is back in place: a tied weight must not be shrunk twice.
        # Adding 0 makes 0.0 of -0.0, which other programs may take for a weight.
        baked = weight.value.detach() + 0.0
        for use in weight.uses:
            parametrize.remove_parametrizations(use.module, use.attribute, leave_parametrized=False)
            _put_first(use)
        with torch.no_grad():
            weight.original.copy_(baked)
    return model


def threshold_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the threshold parameters ``s`` of ``model`` in the order of its layers."""
    found = (parametrization_of(weight, SoftThreshold) for weight in weight_tensors(model))
    parameters = {id(threshold): threshold.s for threshold in found if threshold is not None}
    return list(parameters.values())


def parametrization_of(weight: WeightTensor, kind: type[AnyModule]) -> AnyModule | None:
    """Return the parametrization of type ``kind`` on ``weight``, or None."""
    use = weight.uses[0]
    if not parametrize.is_parametrized(use.module, use.attribute):
        return None
    stack: list[nn.Module] = list(getattr(use.module.parametrizations, use.attribute))
    return next((step for step in stack if isinstance(step, kind)), None)


def parametrized(weight: WeightTensor, step: nn.Module) -> None:
    """Put ``step`` on ``weight``, wherever it is used; its parameters stay float32 or wider."""
    original = weight.original
    step.to(original.device, torch.promote_types(original.dtype, torch.float32))
    for use in weight.uses:
        parametrize.register_parametrization(use.module, use.attribute, step)


def prunable(model: nn.Module, skip: Sequence[str]) -> list[WeightTensor]:
    """Return the weights of a dense model that ``skip`` does not name.

    Raises:
        ValueError: There is none, a pattern matches none, or the model is sparsified already.
    """
    weights = weight_tensors(model)
    chosen = without(weights, skip)
    if not chosen:
        raise ValueError("the model has no convolution or linear layer to sparsify")
    if any(_is_parametrized(use) for weight in weights for use in weight.uses):
        raise ValueError("the model is sparsified already; bake() makes it plain")
    for weight in chosen:
        if isinstance(weight.original, UninitializedParameter):
            raise ValueError(
                f"{weight.name} has no weights yet: run the model once before sparsify()"
            )
        _check_not_tied_elsewhere(model, weight)
    return chosen


def _put_first(use: WeightUse) -> None:
    """Put the weight before the bias again, as in a plain layer."""
    parameters = use.module._parameters  # pyright: ignore[reportPrivateUsage]
    for name in [name for name in parameters if name != use.attribute]:
        parameters[name] = parameters.pop(name)


def _is_parametrized(use: WeightUse) -> bool:
    return parametrize.is_parametrized(use.module, use.attribute)


def _check_not_tied_elsewhere(model: nn.Module, weight: WeightTensor) -> None:
    """Refuse a weight that an embedding, say, uses too: it would see the weight unpruned."""
    known = {use.parameter for use in weight.uses}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if parameter is weight.original and name not in known:
            raise ValueError(
                f"{weight.name} shares its weight with {name}, which is no convolution or linear "
                f"layer: leave it dense with skip={weight.name!r}"
            )


def _threshold_shape(weight: WeightTensor, granularity: Granularity) -> tuple[int, ...]:
    shape = tuple(weight.original.shape)
    per_filter = tuple(size if axis == weight.filter_axis else 1 for axis, size in enumerate(shape))
    shapes: dict[str, tuple[int, ...]] = {"filter": per_filter, "weight": shape}
    return shapes.get(granularity, ())

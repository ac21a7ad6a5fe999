"""Put soft thresholds on any stock torch model, and make them permanent."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from strsweep.sparsity.layers import WeightTensor, WeightUse, weight_tensors, without
from strsweep.sparsity.threshold import Pruning, SoftThreshold, ThresholdFunction

_MOSTLY = 0.99
_SMALL = 0.1
"""Share of the usual size of weights, one over the root of the fan-in, up to which a threshold
prunes next to nothing."""
_OF_EVERY_CLASS = {"__dict__", "__weakref__"}
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
    """Give every convolution and linear weight of ``model`` a threshold, in place; return it.

    Args:
        model: Any module; its layers stay what they are (a parametrization is registered).
        threshold_init: First value of every threshold parameter.
        function: Maps the threshold parameter to the threshold.
        granularity: What one threshold is for: a ``layer`` (the paper), the whole model
            (``global``, the paper's STR-GS, appendix A.5.1), an output ``filter``, or a single
            ``weight`` (appendix A.5.3: very sparse, high variance).
        scale: Factor k of the threshold function (appendix A.1).
        skip: Layer names to leave dense; shell patterns such as ``"layer1.*"``.

    Raises:
        ValueError: A pattern matches no layer, the model has no layer left to sparsify, is
            sparsified already, or an argument is unknown. The model is unchanged then.
    """
    put_thresholds(
        prunable(model, skip),
        granularity,
        lambda shape: SoftThreshold(threshold_init, function, scale=scale, shape=shape),
    )
    return model


def bake(model: AnyModule) -> AnyModule:
    """Replace every thresholded or masked weight by its value, in place; return the model.

    Afterwards the model is plain: the parameter names, classes, ties and outputs are those of a
    model that never met this library, and pruned weights are exact zeros. A layer of low rank
    becomes two, where those have fewer weights.
    """
    for weight in weight_tensors(model):
        if (step := parametrization_of(weight, Pruning)) is None:
            continue
        if (instead := step.instead(weight)) is not None:
            replace_layer(model, weight.uses[0].module, instead)
            continue
        # A copy, before the original is back in place: a tied weight must not be shrunk twice.
        # Adding 0 makes 0.0 of -0.0, which other programs may take for a weight.
        baked = weight.value.detach() + 0.0
        for use in weight.uses:
            _give_own_class(use.module)
            has_one = hasattr(getattr(use.module.parametrizations, use.attribute), "original")
            parametrize.remove_parametrizations(
                use.module, use.attribute, leave_parametrized=not has_one
            )
            _put_first(use)
        with torch.no_grad():
            weight.original.copy_(baked)
    return model


def activate_thresholds(model: nn.Module, is_active: bool) -> None:
    """Let the thresholds of ``model`` prune and learn from now on, or leave all weights as is."""
    for _, step in weights_with(model, SoftThreshold):
        step.is_active = is_active
        step.s.requires_grad_(is_active)


@torch.no_grad()
def set_threshold_parameters(model: nn.Module, value: float) -> None:
    """Give every threshold parameter ``s`` of ``model`` the same value."""
    for s in threshold_parameters(model):
        s.fill_(value)


def threshold_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the threshold parameters ``s`` of ``model`` in the order of its layers."""
    parameters = {id(step): step.s for _, step in weights_with(model, SoftThreshold)}
    return list(parameters.values())


def weights_with(model: nn.Module, kind: type[AnyModule]) -> list[tuple[WeightTensor, AnyModule]]:
    """Return every weight of ``model`` that has a parametrization of type ``kind``, with that."""
    steps = ((weight, parametrization_of(weight, kind)) for weight in weight_tensors(model))
    return [(weight, step) for weight, step in steps if step is not None]


def parametrization_of(weight: WeightTensor, kind: type[AnyModule]) -> AnyModule | None:
    """Return the parametrization of type ``kind`` on ``weight``, or None."""
    use = weight.uses[0]
    if not parametrize.is_parametrized(use.module, use.attribute):
        return None
    stack: list[nn.Module] = list(getattr(use.module.parametrizations, use.attribute))
    return next((step for step in stack if isinstance(step, kind)), None)


def put_thresholds(
    weights: Sequence[WeightTensor],
    granularity: Granularity,
    make: Callable[[Sequence[int]], SoftThreshold],
) -> None:
    """Put thresholds on dense ``weights``, one for what ``granularity`` says.

    ``make`` returns a new threshold whose parameter has the given shape.

    Raises:
        ValueError: ``granularity`` is unknown, or ``make`` refuses; nothing is changed then.
    """
    if granularity not in get_args(Granularity):
        raise ValueError(f"granularity: got {granularity!r}, use one of {get_args(Granularity)}")
    shared = make(())
    for weight in weights:
        own = make(_threshold_shape(weight, granularity))
        step = shared if granularity == "global" else own
        if granularity == "filter" and weight.filter_groups > 1:
            step.rows = len(weight.original) // weight.filter_groups
        # A zero-initialized head, residual branch or adapter; a random number is 0 now and then.
        if torch.count_nonzero(weight.original) < _MOSTLY * weight.original.numel():
            step.lets_through = _SMALL / math.sqrt(weight.original[0].numel())
        parametrized(weight, step)


def parametrized(weight: WeightTensor, step: nn.Module) -> None:
    """Put ``step`` on ``weight``, wherever it is used; its parameters stay float32 or wider."""
    original = weight.original
    step.to(original.device, torch.promote_types(original.dtype, torch.float32))
    for use in weight.uses:
        parametrize.register_parametrization(use.module, use.attribute, step)


def prunable(model: nn.Module, skip: Sequence[str]) -> list[WeightTensor]:
    """Return the weights of a dense model that ``skip`` does not name.

    Raises:
        ValueError: There is none, a pattern matches none, or one cannot be pruned.
    """
    chosen = without(weight_tensors(model), skip)
    if not chosen:
        raise ValueError("the model has no convolution or linear layer to sparsify")
    for weight in chosen:
        check_prunable(model, weight)
    return chosen


def check_prunable(model: nn.Module, weight: WeightTensor) -> None:
    """Raise ``ValueError`` unless thresholds or masks can be put on ``weight`` of ``model``."""
    name = weight.name
    if is_ours(weight):
        raise ValueError("the model is sparsified already; bake() makes it plain")
    if not weight.is_plain:
        raise ValueError(
            f"{name} computes its weight from others (weight norm, pruning, ...): make it plain, "
            f"or leave it dense with skip=[{name!r}]"
        )
    if isinstance(weight.original, UninitializedParameter):
        raise ValueError(f"{name} has no weights yet: run the model once before sparsify()")
    if weight.original.is_meta:
        raise ValueError(f"{name} is on the meta device: give it weights before sparsify()")
    known = {use.module for use in weight.uses}
    for owner_name, owner in model.named_modules():
        own = owner.parameters(recurse=False)
        if owner not in known and any(parameter is weight.original for parameter in own):
            raise ValueError(
                f"{name} shares its weight with {owner_name}, which is no convolution or linear "
                f"layer: leave it dense with skip=[{name!r}]"
            )


def is_ours(weight: WeightTensor) -> bool:
    """Return whether a threshold or mask of this library is on ``weight``."""
    return parametrization_of(weight, Pruning) is not None


def replace_layer(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put ``new`` wherever ``model`` has ``old``."""
    for owner in list(model.modules()):
        for name, child in owner.named_children():
            if child is old:
                setattr(owner, name, new)
        if isinstance(owner, nn.TransformerEncoderLayer) and new in owner.children():
            owner.activation_relu_or_gelu = 0  # its fast path would read the weight of the layer


def _give_own_class(module: nn.Module) -> None:
    """Let torch change the class of ``module`` alone: it is that of its deep copies, too."""
    shared: Any = type(module)
    own = {key: value for key, value in vars(shared).items() if key not in _OF_EVERY_CLASS}
    module.__class__ = type(shared.__name__, shared.__bases__, own)


def _put_first(use: WeightUse) -> None:
    """Put the weight before the bias again, as in a plain layer."""
    parameters = use.module._parameters  # pyright: ignore[reportPrivateUsage]
    for name in [name for name in parameters if name != use.attribute]:
        parameters[name] = parameters.pop(name)


def _threshold_shape(weight: WeightTensor, granularity: Granularity) -> tuple[int, ...]:
    shape = tuple(weight.original.shape)
    per_filter = tuple(size if axis == weight.filter_axis else 1 for axis, size in enumerate(shape))
    if weight.filter_groups > 1:
        per_filter = (weight.filter_groups, *per_filter[1:])
    shapes: dict[str, tuple[int, ...]] = {"filter": per_filter, "weight": shape}
    return shapes.get(granularity, ())

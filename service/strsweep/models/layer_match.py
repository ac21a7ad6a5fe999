"""Match the layers of a state dict with those of a model, by name or by order."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import combinations, zip_longest

from torch import Tensor

from strsweep.errors import CheckpointError

Layers = dict[str, dict[str, Tensor]]
"""The tensors of each layer: ``{"layer1.0.conv1": {"weight": ...}}``, in the order of the model."""

THRESHOLD = "sparseThreshold"
_NORM = ("running_mean", "running_var", "num_batches_tracked")
_OF_LAYERS = {"weight", "bias", *_NORM, THRESHOLD}
"""Tensors that a layer computes with: without one of them it would be another layer."""
_PARTS = re.compile(r"\d+|[^\W\d_]+")
"""Of a name: its words and numbers."""
_MOST_NAMED = 6
"""Problems that one message lists; a file of another network has hundreds."""


def layers_of(state: dict[str, Tensor]) -> Layers:
    """Group the tensors of a state dict by the layer that owns them."""
    layers: Layers = {}
    for key, tensor in state.items():
        name, _, tensor_name = key.rpartition(".")
        layers.setdefault(name, {})[tensor_name] = tensor
    return layers


def key_of(layer: str, tensor: str) -> str:
    """Return the key of a tensor in a state dict; a model of one layer has no layer name."""
    return f"{layer}.{tensor}" if layer else tensor


def extra_tensors(theirs: Layers) -> list[str]:
    """Return the keys of tensors, beside the weight of a layer, that no layer of torch has."""
    return [
        key_of(name, tensor)
        for name, tensors in theirs.items()
        for tensor in tensors
        if "weight" in tensors and tensor not in _OF_LAYERS
    ]


def match_layers(
    source: str, theirs: Layers, ours: Layers, can_be_sparse: Collection[str]
) -> list[tuple[str, str]]:
    """Return which layer of the file is which layer of the model, as pairs of names.

    By name if all names agree. Otherwise by order: a layer must then fit in the names and shapes of
    all its tensors, a name that both sides know must meet itself, and no two layers of one shape
    may be named as if they were each other (q, k for key, query).

    Args:
        source: What the messages call the file.
        theirs: The layers of the file; a sparse one has a tensor ``sparseThreshold``.
        ours: The layers of a dense model.
        can_be_sparse: Our layers that may have a threshold.

    Raises:
        CheckpointError: They do not match; every difference is named with key and shape.
    """
    pairs = [(name, name) for name in ours]
    if theirs.keys() != ours.keys():
        pairs = list(zip(theirs, ours, strict=False))
        if sorted(theirs) == list(theirs) != sorted(theirs, key=_natural):
            told = "lists its layers by name, so their order says nothing, and the names differ"
            raise CheckpointError(f"{source} {told}: {_lists(theirs, ours)}")
        misplaced = any(one != other and (one in ours or other in theirs) for one, other in pairs)
        if misplaced or len(theirs) != len(ours):
            raise CheckpointError(f"{source} belongs to another network: {_lists(theirs, ours)}")
    misfits = [
        misfit
        for one, other in pairs
        for misfit in _misfits(one, theirs[one], ours[other], other in can_be_sparse)
    ]
    if misfits:
        raise CheckpointError(f"{source} does not fit the model: {some(misfits)}")
    if crossed := list(_crossed(pairs, ours)):
        told = "by the order of layers, and by their names others would meet"
        raise CheckpointError(f"{source} fits the model {told}: {some(crossed)}. Rename them.")
    return pairs


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts 2 before 10."""
    return [(int(part) if part.isdecimal() else -1, part) for part in _PARTS.findall(name)]


def _crossed(pairs: Sequence[tuple[str, str]], ours: Layers) -> Iterator[str]:
    """Yield the layers of one shape that met by order, where both are named as the other's."""
    shapes = [{key: tensor.shape for key, tensor in ours[other].items()} for _, other in pairs]
    alike = [_alike(one, other) for one, other in pairs]
    for first, last in combinations(range(len(pairs)), 2):
        (one, other), (their, our) = pairs[first], pairs[last]
        if shapes[first] != shapes[last] or one == other:
            continue
        if _alike(one, our) > alike[first] and _alike(their, other) > alike[last]:
            yield f"{one} would be {other}, and {their} {our}"


def _alike(one: str, other: str) -> float:
    """Return how much two names have in common: parts such as numbers, and letters."""
    parts = SequenceMatcher(None, _PARTS.findall(one), _PARTS.findall(other), autojunk=False)
    letters = (re.sub(r"[^a-z]", "", name.lower()) for name in (one, other))
    return parts.ratio() + SequenceMatcher(None, *letters, autojunk=False).ratio()


def _misfits(
    name: str, theirs: dict[str, Tensor], ours: dict[str, Tensor], can_be_sparse: bool
) -> Iterator[str]:
    """Say what keeps the layer ``name`` of the file from being one layer of the model."""
    for tensor_name, tensor in theirs.items():
        key = f"{key_of(name, tensor_name)} {list(tensor.shape)}"
        if tensor_name == THRESHOLD and can_be_sparse:
            if tensor.numel() != 1:
                yield f"{key} is not one threshold per layer, shape [1, 1]"
        elif tensor_name not in ours:
            yield f"{key} has no counterpart in the model"
        elif not _fits(tensor, ours[tensor_name]):
            yield f"{key} has the shape {list(ours[tensor_name].shape)} in the model"
    for tensor_name, tensor in ours.items():
        if tensor_name not in theirs:
            yield f"{key_of(name, tensor_name)} {list(tensor.shape)} is missing in the file"


def _fits(theirs: Tensor, ours: Tensor) -> bool:
    is_linear = ours.dim() == 2  # a 1x1 convolution in the file
    return theirs.shape == ours.shape or (is_linear and theirs.shape == (*ours.shape, 1, 1))


def _lists(theirs: Layers, ours: Layers) -> str:
    missing = [_first(ours, name) for name in ours if name not in theirs]
    unknown = [_first(theirs, name) for name in theirs if name not in ours]
    return (
        f"it has {len(theirs)} layers, the model {len(ours)}. In order, "
        f"{_first_difference(theirs, ours)}. Only in the model: {some(missing)}. "
        f"Only in the file: {some(unknown)}."
    )


def _first_difference(theirs: Layers, ours: Layers) -> str:
    for one, other in zip_longest(theirs, ours):
        if other is None:
            return f"{_first(theirs, one)} is left over"
        if one is None:
            return f"{_first(ours, other)} is missing"
        if any(_misfits(one, theirs[one], ours[other], can_be_sparse=True)):
            return f"{_first(theirs, one)} would be {_first(ours, other)}"
    return "all shapes fit, but known names are in other places"


def _first(layers: Layers, name: str) -> str:
    """Return key and shape of the first tensor of a layer, which is its weight."""
    tensor_name, tensor = next(iter(layers[name].items()))
    return f"{key_of(name, tensor_name)} {list(tensor.shape)}"


def some(texts: Sequence[str], between: str = "; ") -> str:
    """Return the first of ``texts``, and how many more there are."""
    more = len(texts) - _MOST_NAMED
    return between.join([*texts[:_MOST_NAMED], *[f"and {more} more"] * (more > 0)]) or "none"

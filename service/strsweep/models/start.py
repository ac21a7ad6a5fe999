"""Start from a trained network: a state dict as people save it, or a file of the STR authors' code.

A file may hold the state dict itself or have it under a usual key, as torch or safetensors, in any
precision; its names may have a prefix, such as ``module.``. In the authors' format
(github.com/RAIVNLab/STR) every sparse layer also has a ``sparseThreshold`` of shape [1, 1], the
parameter s of a sigmoid, and the last layer is a 1x1 convolution.
"""

from __future__ import annotations

import _codecs
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from strsweep.errors import CheckpointError
from strsweep.models.layer_match import (
    THRESHOLD,
    Layers,
    extra_tensors,
    key_of,
    layers_of,
    match_layers,
    some,
)
from strsweep.sparsity.convert import sparsify, threshold_parameters, weights_with
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.threshold import SoftThreshold

State = dict[str, Tensor]

_KEYS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
"""Where training scripts put the state dict."""
_COUNTER = "num_batches_tracked"
"""Files from before torch 0.4.1 have none."""
_SCALAR: Any = np.float64(0).__reduce__()[0]  # a learning rate beside the weights is often one
_ARRAY: Any = np.zeros(1).__reduce__()[0]  # so is the state of a random generator
_NUMPY: list[Any] = [
    _SCALAR,
    _ARRAY,
    (_SCALAR, "numpy.core.multiarray.scalar"),  # as NumPy called it before version 2
    (_ARRAY, "numpy.core.multiarray._reconstruct"),
    np.ndarray,
    np.dtype,
    *{type(np.dtype(code)) for code in "?bhilqBHILQefdgFDGSUMm"},
    _codecs.encode,
]


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a checkpoint gave to a model, in names of tensors."""

    loaded: int
    anew: tuple[str, ...]
    """Of the model; these keep their initialization."""
    unused: tuple[str, ...]
    """Of the file; the model has no place for them."""
    renamed: tuple[str, ...] = ()
    """Layers that met by their order: the name in the file, and in the model."""
    is_maskless: bool = False
    """A file of the authors' code, or of one like it, without thresholds: DNW and GMP prune in the
    forward pass and write no mask."""

    def __str__(self) -> str:
        said = f"{self.loaded} tensors loaded"
        if self.renamed:
            said += f" by their order, as names differ: {some(self.renamed, ', ')}"
        if self.is_maskless:
            said += (
                ", all dense: no thresholds are in the file, and those of DNW or GMP have no mask"
            )
        said += f"; initialized anew: {some(self.anew, ', ')}" if self.anew else ""
        return said + (f"; of the file not used: {some(self.unused, ', ')}" if self.unused else "")


def load_start(path: Path | str, model: nn.Module, *, skip_head: bool = False) -> Start:
    """Load a checkpoint into ``model``, thresholds included, in place.

    Tensors meet by name, once a common prefix is taken away on either side. Where names differ, as
    of the authors' MobileNetV1, layers of a torch file meet by their order: every tensor of the
    model must find its own in name and shape, and a name that both sides know must meet itself.
    Tensors that layers of torch do not have are left out, as the authors' own loader does.

    Args:
        path: The file. It is never unpickled beyond tensors and plain values.
        model: A dense network. Layers without a threshold in the file stay dense.
        skip_head: Leave the last layer as it is if the file has it for other classes.

    Raises:
        CheckpointError: The file cannot be read, needs more than tensors, or belongs to another
            network. The model is unchanged then.
        ValueError: ``model`` has soft thresholds already.
    """
    if threshold_parameters(model):
        raise ValueError("the model has soft thresholds already; bake() removes them")
    path, own = Path(path), model.state_dict()
    is_ordered = path.suffix != ".safetensors"  # that format sorts names
    read, names_its_network = _read(path) if is_ordered else (_read_safetensors(path), False)
    found = _renamed(path, read, list(own))
    head = _other_head(model, found) if skip_head else []
    anew, unused = _left_out(found, own, head, is_ordered)
    wanted = {name: own[name] for name in own if name not in anew}
    theirs, ours = layers_of({n: found[n] for n in found if n not in unused}), layers_of(wanted)
    pairs = _matched(path, model, theirs, ours, skip_head=skip_head)
    _load(model, pairs, theirs, ours)
    return Start(
        loaded=len(wanted),
        anew=tuple(anew),
        unused=tuple(unused),
        renamed=tuple(f"{one} as {other}" for one, other in pairs if one != other),
        is_maskless=names_its_network and not threshold_parameters(model),
    )


def _matched(
    path: Path, model: nn.Module, theirs: Layers, ours: Layers, *, skip_head: bool
) -> list[tuple[str, str]]:
    """Return which layer of the file is which of the model; see ``match_layers``."""
    try:
        return match_layers(str(path), theirs, ours, [one.name for one in weight_tensors(model)])
    except CheckpointError as error:
        with suppress(CheckpointError):
            if not skip_head and load_start(path, deepcopy(model), skip_head=True):
                error = CheckpointError(f"{error}. All else fits: try model.skip_head=true.")
        raise error from None


def _left_out(
    found: State, own: State, head: list[str], is_ordered: bool
) -> tuple[list[str], list[str]]:
    """Return what of the model stays as it is, and what of the file is not used."""
    anew = [n for n in own if n in head or (n.endswith(_COUNTER) and n not in found)]
    if is_ordered and any(name not in found for name in own if name not in anew):
        # By order: every layer of the file must have its place.
        return head, [name for name in extra_tensors(layers_of(found)) if name not in own]
    return anew, [name for name in found if name not in own and not _is_threshold(name, own)]


def load_weights(model: nn.Module, state: Mapping[str, Any], *, strict: bool = True) -> None:
    """Load a state that was in a file into ``model``, with the versions that files leave out.

    Without them some modules (torchvision's MnasNet) refuse it, or take it for an old one.

    Raises:
        RuntimeError: It belongs to another model.
    """
    versioned: Any = OrderedDict(state)
    versioned._metadata = getattr(model.state_dict(), "_metadata", None)
    model.load_state_dict(versioned, strict=strict)


def _load(model: nn.Module, pairs: list[tuple[str, str]], theirs: Layers, ours: Layers) -> None:
    thresholds = {
        name: theirs[their_name].pop(THRESHOLD)
        for their_name, name in pairs
        if THRESHOLD in theirs[their_name]
    }
    loaded = {
        key_of(name, tensor_name): tensor.reshape(ours[name][tensor_name].shape)
        for their_name, name in pairs
        for tensor_name, tensor in theirs[their_name].items()
    }
    load_weights(model, loaded, strict=False)
    if not thresholds:
        return
    dense = [weight.name for weight in weight_tensors(model) if weight.name not in thresholds]
    sparsify(model, threshold_init=0.0, skip=dense)
    for weight, threshold in weights_with(model, SoftThreshold):
        with torch.no_grad():
            threshold.s.copy_(thresholds[weight.name].reshape(threshold.s.shape))


def _read(path: Path) -> tuple[State, bool]:
    """Return the tensors of a file, and whether it says which network it is of (``arch``)."""
    try:
        with torch.serialization.safe_globals(_NUMPY):
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # what torch raises on damaged bytes depends on the bytes
        if "GLOBAL" in str(error):
            raise CheckpointError(
                f"{path} is refused: reading it would run code that it names. Save its state_dict "
                "alone, from a process that trusts it."
            ) from error
        raise CheckpointError(f"{path} cannot be read: it is damaged or no checkpoint") from error
    inner: list[Any] = (
        [content[key] for key in _KEYS if key in content] if _is_dict(content) else []
    )
    for state in (*inner, content):
        if _is_state(state):
            return state, _is_dict(content) and "arch" in content
    raise CheckpointError(f"{path} holds no state_dict of named tensors")


def _read_safetensors(path: Path) -> State:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _is_dict(content: Any) -> bool:
    return isinstance(content, dict)


def _is_state(state: Any) -> bool:
    if not isinstance(state, dict) or not state:
        return False
    return all(isinstance(key, str) and isinstance(state[key], Tensor) for key in state)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _renamed(path: Path, found: State, own: list[str]) -> State:
    """Return the tensors of a file under the names that the model has for them."""
    by_prefix = _under_prefixes(found, own)
    most = max(map(len, by_prefix.values()))
    best = [prefix for prefix, names in by_prefix.items() if len(names) == most]
    if not most or ("" not in best and most < len(own) and len(best) > 1):
        common = _common(found)  # by order, then; a wrapper's name says nothing
        return {name.removeprefix(common): tensor for name, tensor in found.items()}
    if "" not in best and len(best) > 1:
        raise CheckpointError(
            f"{path} holds the network {len(best)} times, as {some(best, ', ')}: save the one that "
            "you want by itself"
        )
    names = _with_thresholds(by_prefix["" if "" in best else best[0]], found)
    return {names.get(name, name): tensor for name, tensor in found.items()}


def _under_prefixes(found: State, own: list[str]) -> dict[str, dict[str, str]]:
    """Return for every prefix of the file which of its tensors is which of the model."""
    by_prefix: dict[str, dict[str, str]] = {}
    for inner in dict.fromkeys(("", _common(own))):
        short = {name.removeprefix(inner): name for name in own}
        ends = next(iter(short))
        outer = {name.removesuffix(ends) for name in found if name.endswith(ends)}
        for prefix in ("", *sorted(outer)):
            names = {prefix + name: short[name] for name in short if prefix + name in found}
            by_prefix[prefix] = max(by_prefix.get(prefix, {}), names, key=len)
    return by_prefix


def _common(names: Iterable[str]) -> str:
    """Return the part before a dot that all names begin with, the dot included."""
    parts = zip(*(name.split(".")[:-1] for name in names), strict=False)
    shared = list(takewhile(lambda part: len(set(part)) == 1, parts))
    return "".join(f"{part[0]}." for part in shared)


def _with_thresholds(names: dict[str, str], found: State) -> dict[str, str]:
    """Add the thresholds beside the weights that were found."""
    beside = {
        f"{theirs.rpartition('.')[0]}.{THRESHOLD}": f"{ours.rpartition('.')[0]}.{THRESHOLD}"
        for theirs, ours in names.items()
    }
    return names | {theirs: ours for theirs, ours in beside.items() if theirs in found}


def _is_threshold(name: str, own: State) -> bool:
    layer, _, tensor = name.rpartition(".")
    return tensor == THRESHOLD and any(key.rpartition(".")[0] == layer for key in own)


def _other_head(model: nn.Module, found: State) -> list[str]:
    """Return the tensors of the last layer if the file has it in another shape, or not at all."""
    last, own = weight_tensors(model)[-1], model.state_dict()
    layer = layers_of(own)[last.name]
    names = [key_of(last.name, tensor) for tensor in layer]
    if all(name in found and found[name].shape == own[name].shape for name in names):
        return []
    for name in names:
        found.pop(name, None)
    return names

"""Checkpoints in the format of the STR authors' own code (github.com/RAIVNLab/STR).

Such a file is a ``torch.save`` of ``{"state_dict": ...}`` or of the state dict itself. Its keys may
start with ``module.``; every sparse layer has a ``sparseThreshold`` of shape [1, 1] beside its
weight, the parameter s of a sigmoid; the last layer is a 1x1 convolution.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from strsweep.errors import CheckpointError
from strsweep.models.layer_match import THRESHOLD, key_of, layers_of, match_layers
from strsweep.sparsity import (
    SoftThreshold,
    sparsify,
    threshold_parameters,
    weight_tensors,
)
from strsweep.sparsity.convert import AnyModule, weights_with

_PREFIX = "module."


def load_authors_checkpoint(path: Path, model: AnyModule) -> AnyModule:
    """Load a checkpoint of the authors' code into ``model``, thresholds included, in place.

    Layers meet by name if the names are the same, as in ResNets. If they are not (MobileNetV1),
    layers meet by their order in file and model, and every tensor must fit in name and shape.
    Batch norms take part in that order, so a shifted list of layers cannot pass.

    Args:
        path: The file. It is never unpickled beyond tensors and plain values.
        model: A dense network of the same architecture, e.g. ``build("resnet50", ...)``. Layers
            without a threshold in the file stay dense; a file without any is a dense network.

    Returns:
        ``model`` itself: ready to be measured, evaluated, trained further or baked.

    Raises:
        CheckpointError: The file cannot be read, needs more than tensors, or belongs to another
            network. The model is unchanged then.
        ValueError: ``model`` has soft thresholds already.
    """
    if threshold_parameters(model):
        raise ValueError("the model has soft thresholds already; bake() removes them")
    path = Path(path)
    theirs, ours = layers_of(_read(path)), layers_of(model.state_dict())
    pairs = match_layers(str(path), theirs, ours, [weight.name for weight in weight_tensors(model)])
    thresholds = {
        name: theirs[their_name].pop(THRESHOLD)
        for their_name, name in pairs
        if THRESHOLD in theirs[their_name]
    }
    model.load_state_dict({
        key_of(name, tensor_name): tensor.reshape(ours[name][tensor_name].shape)
        for their_name, name in pairs
        for tensor_name, tensor in theirs[their_name].items()
    })
    _set_thresholds(model, thresholds)
    return model


def _read(path: Path) -> dict[str, Tensor]:
    try:
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
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not _names_tensors(state):
        raise CheckpointError(f"{path} holds no state_dict of named tensors")
    return {name.removeprefix(_PREFIX): tensor for name, tensor in state.items()}


def _names_tensors(state: dict[Any, Any]) -> bool:
    return all(isinstance(key, str) and isinstance(state[key], Tensor) for key in state)


def _set_thresholds(model: nn.Module, thresholds: dict[str, Tensor]) -> None:
    if not thresholds:
        return
    dense = [w.name for w in weight_tensors(model) if w.name not in thresholds]
    sparsify(model, threshold_init=0.0, skip=dense)
    for weight, threshold in weights_with(model, SoftThreshold):
        with torch.no_grad():
            threshold.s.copy_(thresholds[weight.name].reshape(threshold.s.shape))

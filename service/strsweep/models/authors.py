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
from strsweep.models.layer_match import THRESHOLD, Layers, key_of, layers_of, match_layers
from strsweep.sparsity import (
    SoftThreshold,
    WeightTensor,
    sparsify,
    threshold_parameters,
    weight_tensors,
)
from strsweep.sparsity.convert import AnyModule, parametrization_of, weights_with

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


def save_authors_checkpoint(path: Path, model: nn.Module) -> None:
    """Write ``model`` as a file that the authors' code takes with ``--pretrained``.

    Weights and thresholds are those of the model, bit for bit. ResNets keep their names, which are
    the authors' own; a MobileNetV1 gets the authors' names.

    Args:
        path: Where to write; a file there is replaced.
        model: Sparsified with one sigmoid threshold per layer, or dense.

    Raises:
        CheckpointError: The thresholds have no place in this format.
    """
    layers = layers_of(_dense_state(model))
    for layer in weight_tensors(model):
        _check_has_a_place(layer)
        weight = layers[layer.name]["weight"]
        layers[layer.name]["weight"] = weight[..., None, None] if weight.dim() == 2 else weight
        threshold = parametrization_of(layer, SoftThreshold)
        if threshold is not None:
            layers[layer.name][THRESHOLD] = threshold.s.detach().reshape(1, 1)
    names = _mobilenet_names(model, layers) or list(layers)
    state = {
        _PREFIX + key_of(name, tensor_name): tensor.cpu()
        for name, tensors in zip(names, layers.values(), strict=True)
        for tensor_name, tensor in tensors.items()
    }
    torch.save({"state_dict": state}, path)


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


def _check_has_a_place(weight: WeightTensor) -> None:
    threshold = parametrization_of(weight, SoftThreshold)
    if weight.uses[0].attribute != "weight":
        raise CheckpointError(f"{weight.name}: the format has no place for attention")
    if threshold is None and weight.is_parametrized:
        raise CheckpointError(f"{weight.name}: the format holds no masks; bake() the model first")
    if threshold is not None and (
        type(threshold) is not SoftThreshold
        or threshold.function != "sigmoid"
        or threshold.scale != 1
        or threshold.s.numel() != 1
    ):
        raise CheckpointError(
            f"{weight.name}: the format holds one sigmoid threshold per layer, not {threshold}"
        )


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


def _dense_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state of ``model`` under the keys of a model without thresholds."""
    return {
        key.replace("parametrizations.weight.original", "weight"): tensor
        for key, tensor in model.state_dict().items()
        if "parametrizations.weight.0." not in key
    }


def _mobilenet_names(model: nn.Module, layers: Layers) -> list[str] | None:
    """Return the authors' names of the layers if ``model`` is a MobileNetV1, else None.

    It is one if convolutions, each with its batch norm, alternate between pointwise and depthwise,
    and one layer without batch norm ends them.
    """
    tensors = weight_tensors(model)
    grouped = [getattr(weight.uses[0].module, "groups", 1) > 1 for weight in tensors]
    num_blocks = (len(grouped) - 2) // 2
    weights = {weight.name for weight in tensors}
    order = [name in weights for name in layers]
    if (
        num_blocks < 1
        or grouped != [False, *[True, False] * num_blocks, False]
        or order != [True, False] * (1 + 2 * num_blocks) + [True]
    ):
        return None
    blocks = [f"model.{block}.{at}" for block in range(1, num_blocks + 1) for at in (0, 1, 3, 4)]
    return ["model.0.0", "model.0.1", *blocks, "fc"]

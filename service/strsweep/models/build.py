"""Build a network from its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

from torch import nn

from strsweep.errors import SettingError, blaming, nearest
from strsweep.imports import imported
from strsweep.models.fastgrnn import FastGRNN
from strsweep.models.networks import digits_cnn, mobilenet_v1, resnet18, resnet20, resnet50
from strsweep.models.start import load_weights
from strsweep.progress import say

Factory = Callable[..., Any]

_OURS: dict[str, Factory] = {
    "digits_cnn": digits_cnn,
    "fastgrnn": FastGRNN,
    "mobilenet_v1": mobilenet_v1,
    "resnet18": resnet18,
    "resnet20": resnet20,
    "resnet50": resnet50,
}
_AUXILIARY_HEADS = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}


def build(name: str, **options: Any) -> nn.Module:
    """Build a dense network.

    Args:
        name: One of ours (``digits_cnn``, and the networks of the paper: ``fastgrnn``,
            ``mobilenet_v1``, ``resnet18``, ``resnet20``, ``resnet50``), ``torchvision:NAME`` for
            any model of torchvision, or ``package.module:factory`` for a callable. It is given
            what the task knows, such as ``num_classes``. Its module may lie in the folder where
            the job was started.
        **options: Keyword arguments of the factory.

    ``torchvision:googlenet`` and ``torchvision:inception_v3`` come without their auxiliary heads,
    so that they return one tensor in training as all others do. Published weights, option
    ``weights``, start a network of other classes, too: what depends on those is initialized anew.

    Raises:
        SettingError: The name or an option does not exist, the factory refuses the options, or
            what it builds is no network.
    """
    factory = check_options(name, options)
    with blaming("model.options", options, f"{name} refuses them"):
        model: object = factory(**options)
    if not isinstance(model, nn.Module):
        raise SettingError(
            "model.name", name, f"It returned {type(model).__name__}, not a torch.nn.Module."
        )
    return model


def check_options(name: str, options: dict[str, Any]) -> Factory:
    """Return the factory of ``name`` after checking that it takes ``options``; builds nothing.

    Raises:
        SettingError: The name or an option does not exist.
    """
    factory = _find(name)
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError) as error:
        raise SettingError(
            "model.name", name, f"It cannot be called as a factory: {error}"
        ) from None
    try:
        signature.bind_partial(**options)
    except TypeError as error:
        remedy = f"{error}; {name} is called as {name}{signature}."
        raise SettingError("model.options", options, remedy) from None
    return factory


def _find(name: str) -> Factory:
    package, separator, factory = name.partition(":")
    if not separator:
        if name in _OURS:
            return _OURS[name]
        raise SettingError(
            "model.name",
            name,
            f"{nearest(name, _OURS)}Use one of {sorted(_OURS)}, torchvision:NAME, or "
            "package.module:factory.",
        )
    return _torchvision(factory) if package == "torchvision" else imported(name, "model.name")


def _torchvision(name: str) -> Factory:
    from torchvision import models  # a second of import that digits do not need

    known = [name for name in models.list_models() if not name.startswith("quantized_")]
    if name not in known:
        remedy = f"torchvision has no such model; it has {known}."
        raise SettingError("model.name", f"torchvision:{name}", remedy)
    builder = models.get_model_builder(name)
    heads = _AUXILIARY_HEADS.get(name)
    return _for_other_classes(name, builder if heads is None else _without(heads, builder))


def _for_other_classes(name: str, builder: Factory) -> Factory:
    """Return ``builder`` that takes published weights also where the classes are others."""
    from torchvision import models

    @wraps(builder)
    def factory(**options: Any) -> nn.Module:
        weights: Any = options.get("weights")
        if weights is None:
            return builder(**options)
        published: Any = models.get_model_weights(name)
        if isinstance(weights, str):
            known = [*published.__members__]
            if (chosen := weights.rpartition(".")[2]) not in known:
                raise ValueError(f"weights: torchvision publishes {known}, not {weights!r}")
            weights = published[chosen]
        num_classes = options.pop("num_classes", None)
        theirs = len(weights.meta["categories"])
        if num_classes in (None, theirs):
            return builder(**options, num_classes=theirs)
        trained = builder(**options, num_classes=theirs).state_dict()
        model: nn.Module = builder(**{**options, "weights": None}, num_classes=num_classes)
        own = model.state_dict()
        fitting = {key: value for key, value in trained.items() if value.shape == own[key].shape}
        load_weights(model, fitting, strict=False)
        anew = sorted(own.keys() - fitting.keys())
        say(f"{name}: {weights} without {', '.join(anew)}, which has {theirs} classes there")
        return model

    return factory


def _without(heads: tuple[str, ...], builder: Factory) -> Factory:
    """Return ``builder`` without the auxiliary heads, which exist for the loss of training only."""

    def factory(num_classes: int, **options: Any) -> nn.Module:
        if options.get("aux_logits"):
            raise ValueError("aux_logits: the auxiliary heads get no loss here, leave them out")
        if not options.get("weights"):
            # Left open, init_weights is a warning about a future default.
            options = {"aux_logits": False, "init_weights": True, **options}
        model: Any = builder(num_classes=num_classes, **options)
        model.aux_logits = False  # published weights have brought the heads back
        for head in heads:
            setattr(model, head, None)
        return model

    return factory

"""Build a network from its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from strsweep.errors import SettingError
from strsweep.imports import imported
from strsweep.models.digits_cnn import digits_cnn
from strsweep.models.mobilenet_v1 import mobilenet_v1
from strsweep.models.resnet import resnet18, resnet20, resnet50

Factory = Callable[..., Any]

_OURS: dict[str, Factory] = {
    "digits_cnn": digits_cnn,
    "mobilenet_v1": mobilenet_v1,
    "resnet18": resnet18,
    "resnet20": resnet20,
    "resnet50": resnet50,
}
_AUXILIARY_HEADS = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}


def build(name: str, **options: Any) -> nn.Module:
    """Build a dense network.

    Args:
        name: One of ours (``digits_cnn``, ``mobilenet_v1``, ``resnet18``, ``resnet20``,
            ``resnet50``: the networks of the paper), ``torchvision:NAME`` for any model of
            torchvision, or ``package.module:factory`` for a callable, which is given what the task
            knows, such as ``num_classes``. The module may lie in the folder where the job was
            started.
        **options: Keyword arguments of the factory.

    ``torchvision:googlenet`` and ``torchvision:inception_v3`` come without their auxiliary heads,
    so that they return one tensor in training as all others do.

    Raises:
        SettingError: The name or an option does not exist, the factory refuses the options, or
            what it builds is no network.
    """
    factory = check_options(name, options)
    try:
        model: object = factory(**options)
    except Exception as error:  # a factory can refuse in any way
        raise SettingError("model.options", options, f"{name} refuses them: {error}") from error
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
        raise SettingError(
            "model.options",
            options,
            f"{error}; {name} is called as {name}{signature}.",
        ) from None
    return factory


def _find(name: str) -> Factory:
    package, separator, factory = name.partition(":")
    if not separator:
        if name in _OURS:
            return _OURS[name]
        raise SettingError(
            "model.name",
            name,
            f"Use one of {sorted(_OURS)}, torchvision:NAME, or package.module:factory.",
        )
    return _torchvision(factory) if package == "torchvision" else imported(name, "model.name")


def _torchvision(name: str) -> Factory:
    from torchvision import models  # a second of import that digits do not need

    known = [name for name in models.list_models() if not name.startswith("quantized_")]
    if name not in known:
        raise SettingError(
            "model.name",
            f"torchvision:{name}",
            f"torchvision has no such model; it has {known}.",
        )
    builder = models.get_model_builder(name)
    heads = _AUXILIARY_HEADS.get(name)
    return builder if heads is None else _without(heads, builder)


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

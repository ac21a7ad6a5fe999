"""Build a network from its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

from strsweep.errors import SettingError
from strsweep.models.digits_cnn import digits_cnn

Factory = Callable[..., nn.Module]

_OURS: dict[str, Factory] = {"digits_cnn": digits_cnn}


def build(name: str, *, num_classes: int, **options: Any) -> nn.Module:
    """Build a dense network.

    Args:
        name: One of ours (``digits_cnn``), ``torchvision:NAME`` for any torchvision classifier, or
            ``package.module:factory`` for a callable that takes ``num_classes``.
        num_classes: Outputs of the network.
        **options: Further keyword arguments of the factory.

    Raises:
        SettingError: The name or an option does not exist, or the factory refuses the options.
    """
    factory = check_options(name, options)
    try:
        return factory(num_classes=num_classes, **options)
    except (TypeError, ValueError, KeyError) as error:
        raise SettingError("model.options", options, f"{name} refuses them: {error}") from error


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
        signature.bind(num_classes=1, **options)
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
    return _torchvision(factory) if package == "torchvision" else _imported(package, factory)


def _torchvision(name: str) -> Factory:
    from torchvision import models  # a second of import that digits do not need

    known = models.list_models(module=models)
    if name not in known:
        raise SettingError(
            "model.name",
            f"torchvision:{name}",
            f"torchvision has no such classifier; it has {known}.",
        )
    return models.get_model_builder(name)


def _imported(module: str, attribute: str) -> Factory:
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise SettingError(
            "model.name",
            f"{module}:{attribute}",
            f"{error}. The module must be importable on every worker.",
        ) from error

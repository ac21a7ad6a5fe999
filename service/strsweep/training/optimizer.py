"""SGD with momentum, and a weight decay of their own for thresholds and batch norm."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.optim import SGD

from strsweep.sparsity import threshold_parameters

_ROLE = "role"
"""Key of a parameter group: ``weights``, ``thresholds`` or ``norms``."""


def sgd(model: nn.Module, *, momentum: float) -> SGD:
    """Return SGD over three groups: thresholds, batch norm, and everything else.

    The learning rate is set before every step by the schedule, the decays before every epoch.
    """
    thresholds = threshold_parameters(model)
    norms = [
        parameter
        for module in model.modules()
        if isinstance(module, _BatchNorm)
        for parameter in module.parameters(recurse=False)
    ]
    apart = {id(parameter) for parameter in (*thresholds, *norms)}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in apart]
    roles = {"weights": rest, "thresholds": thresholds, "norms": norms}
    groups = [{"params": params, _ROLE: role} for role, params in roles.items() if params]
    return SGD(groups, lr=0.0, momentum=momentum)


def set_decays(optimizer: SGD, *, weights: float, thresholds: float, norms: float) -> None:
    """Decay the three kinds of parameters by so much from now on.

    As published all three are one number, batch norm and thresholds included: the decay of the
    thresholds is what raises them (section 3).
    """
    decays = {"weights": weights, "thresholds": thresholds, "norms": norms}
    for group in optimizer.param_groups:
        group["weight_decay"] = decays[group[_ROLE]]


def load_optimizer(optimizer: SGD, state: dict[str, Any]) -> None:
    """Continue where ``state`` was taken."""
    optimizer.load_state_dict(state)

"""SGD with momentum, and a weight decay of their own for thresholds and batch norm."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.optim import SGD

from strsweep.sparsity import threshold_parameters

_OWN = "has_own_decay"


def sgd(
    model: nn.Module,
    *,
    momentum: float,
    weight_decay: float,
    threshold_decay: float | None = None,
    batch_norm_decay: bool = True,
) -> SGD:
    """Return SGD over three groups: thresholds, batch norm, and everything else.

    Everything is decayed alike, batch norm and thresholds included, as the paper did: the decay of
    the thresholds is what raises them (section 3). ``threshold_decay`` sets theirs apart, and
    without ``batch_norm_decay`` scales and shifts are not decayed. The learning rate is set before
    every step by the schedule.
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
    groups = [
        _group(rest),
        _group(thresholds, threshold_decay),
        _group(norms, None if batch_norm_decay else 0.0),
    ]
    optimizer = SGD([group for group in groups if group["params"]], lr=0.0, momentum=momentum)
    set_weight_decay(optimizer, weight_decay)
    return optimizer


def set_weight_decay(optimizer: SGD, weight_decay: float) -> None:
    """Decay by ``weight_decay`` from now on, but for groups that have one of their own."""
    for group in optimizer.param_groups:
        if not group[_OWN]:
            group["weight_decay"] = weight_decay


def load_optimizer(optimizer: SGD, state: dict[str, Any]) -> None:
    """Continue where ``state`` was taken; version 0.1 wrote less about its groups."""
    groups = zip(optimizer.state_dict()["param_groups"], state["param_groups"], strict=True)
    optimizer.load_state_dict({**state, "param_groups": [{**own, **was} for own, was in groups]})


def _group(params: list[nn.Parameter], own_decay: float | None = None) -> dict[str, Any]:
    """Return a group that follows the weight decay of the run, unless it has one of its own."""
    return {"params": params, "weight_decay": own_decay or 0.0, _OWN: own_decay is not None}

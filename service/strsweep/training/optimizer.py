"""SGD with momentum, and a weight decay of their own for thresholds and batch norm."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.optim import SGD

from strsweep.sparsity import threshold_parameters


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
        {"params": rest, "weight_decay": weight_decay},
        {
            "params": thresholds,
            "weight_decay": weight_decay if threshold_decay is None else threshold_decay,
        },
        {"params": norms, "weight_decay": weight_decay if batch_norm_decay else 0.0},
    ]
    return SGD([group for group in groups if group["params"]], lr=0.0, momentum=momentum)

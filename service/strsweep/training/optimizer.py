"""SGD with momentum, and a weight decay of its own for the thresholds."""

from __future__ import annotations

from torch import nn
from torch.optim import SGD

from strsweep.sparsity import threshold_parameters


def sgd(
    model: nn.Module,
    *,
    momentum: float,
    weight_decay: float,
    threshold_decay: float | None = None,
) -> SGD:
    """Return SGD over two groups: the thresholds, and everything else.

    Everything is decayed alike, batch norm and thresholds included, as the paper did: the decay of
    the thresholds is what raises them (section 3). ``threshold_decay`` sets theirs apart. The
    learning rate is set before every step by the schedule.
    """
    thresholds = threshold_parameters(model)
    known = {id(parameter) for parameter in thresholds}
    weights = [parameter for parameter in model.parameters() if id(parameter) not in known]
    groups = [
        {"params": weights, "weight_decay": weight_decay},
        {
            "params": thresholds,
            "weight_decay": weight_decay if threshold_decay is None else threshold_decay,
        },
    ]
    return SGD(groups, lr=0.0, momentum=momentum)

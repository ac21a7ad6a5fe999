"""Trainers that obey a budget: gradual magnitude pruning (GMP) and DNW.

Both multiply with the largest weights of a layer only, chosen anew in every step, so that a pruned
weight can come back. They differ in who learns: with GMP the weights that are kept, with DNW
(Discovering Neural Wirings, arXiv 1906.00586) all of them, as if nothing was pruned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from strsweep.sparsity.budget import check_fits
from strsweep.sparsity.convert import (
    AnyModule,
    check_prunable,
    parametrized,
    weights_with,
)
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.threshold import Pruning

MagnitudeMethod = Literal["gmp", "dnw"]


class LargestWeights(Pruning):
    """Parametrization of a weight: the largest entries in magnitude, the others are 0.

    Args:
        weights: Number of entries of the weight.
        density: Share of them to keep in the end.
        straight_through: Pass the gradient on to the entries that are 0, too (DNW).
    """

    def __init__(self, weights: int, density: float, *, straight_through: bool) -> None:
        super().__init__()
        self.weights = weights
        self.final_pruned = int((1 - density) * weights + 1e-6)  # 1 - 0.9 is a little below 0.1
        self.straight_through = straight_through
        self.pruned = self.final_pruned

    def forward(self, weight: Tensor) -> Tensor:
        """Return ``weight`` with its ``pruned`` smallest entries set to exactly 0."""
        mask = largest(weight.detach(), self.weights - self.pruned)
        if not self.straight_through:
            return weight * mask
        # The value of the masked weight, with the gradient of the weight.
        return weight + (weight * mask - weight).detach()

    def get_extra_state(self) -> dict[str, int]:
        """Keep the number of pruned entries with the weights: it changes while training."""
        return {"pruned": self.pruned}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Take over the number of pruned entries."""
        self.pruned = state["pruned"]


def obey(
    model: AnyModule, densities: Mapping[str, float], method: MagnitudeMethod = "gmp"
) -> AnyModule:
    """Let every layer of the dense ``model`` keep its largest weights, in place; return it.

    ``densities`` are shares of weights to keep, by name of layer; see ``Budget``.

    Raises:
        ValueError: The layers differ from those of ``densities``, or the model is sparse already.
    """
    if method not in get_args(MagnitudeMethod):
        raise ValueError(f"method: got {method!r}, use one of {get_args(MagnitudeMethod)}")
    check_fits(densities, model)
    # A layer that keeps everything is left alone: it may be one that cannot be pruned.
    pruned = [weight for weight in weight_tensors(model) if densities[weight.name] < 1]
    for weight in pruned:
        check_prunable(model, weight)
    for weight in pruned:
        step = LargestWeights(
            weight.original.numel(), densities[weight.name], straight_through=method == "dnw"
        )
        parametrized(weight, step)
    return model


def ramp(model: nn.Module, progress: float) -> None:
    """Prune as much as gradual magnitude pruning does at this point of its ramp.

    The pruned share of every layer is its final one times ``1 - (1 - progress)^3``
    (arXiv 1710.01878, eq. 1, from 0).

    ``progress`` is the share of the ramp that is over, cut off outside [0, 1].
    """
    share = cubic_share(progress)
    for _, step in weights_with(model, LargestWeights):
        step.pruned = int(share * step.final_pruned)


def cubic_share(progress: float) -> float:
    """Return the share of the final sparsity that is due: ``1 - (1 - progress)^3``, in [0, 1]."""
    return 1 - cubic(0.0, progress)


def cubic(wanted: float, progress: float) -> float:
    """Return the share of the weights that is left on the way to the share ``wanted``."""
    return wanted + (1 - wanted) * (1 - min(max(progress, 0.0), 1.0)) ** 3


def largest(weight: Tensor, count: int) -> Tensor:
    """Return a mask of the shape and dtype of ``weight`` with exactly ``count`` ones."""
    mask = torch.zeros_like(weight, memory_format=torch.contiguous_format)
    kept = weight.abs().flatten().topk(count, sorted=False).indices
    mask.view(-1)[kept] = 1
    return mask

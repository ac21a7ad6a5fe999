"""Trainers that obey a budget: gradual magnitude pruning (GMP) and DNW.

Both multiply with the largest weights of a layer only, chosen anew in every step, so that a pruned
weight can come back. They differ in who learns: with GMP the weights that are kept, with DNW
(Discovering Neural Wirings, arXiv 1906.00586) all of them, as if nothing was pruned.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from strsweep.sparsity.convert import AnyModule, check_prunable, parametrized, weights_with
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.threshold import Pruning


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
    model: AnyModule, densities: Mapping[str, float], *, straight_through: bool = False
) -> AnyModule:
    """Let every layer of the dense ``model`` keep its largest weights, in place; return it.

    ``densities`` are shares of weights to keep, by name of layer; see ``Budget``.
    ``straight_through`` is that of ``LargestWeights``.

    Raises:
        ValueError: The layers differ from those of ``densities``, or the model is sparse already.
    """
    _check_fits(densities, model)
    # A layer that keeps everything is left alone: it may be one that cannot be pruned.
    pruned = [weight for weight in weight_tensors(model) if densities[weight.name] < 1]
    for weight in pruned:
        check_prunable(model, weight)
    for weight in pruned:
        size, density = weight.original.numel(), densities[weight.name]
        parametrized(weight, LargestWeights(size, density, straight_through=straight_through))
    return model


def prune_share(model: nn.Module, share: float) -> None:
    """Prune, in every layer that obeys a budget, this share of what is to be pruned in the end."""
    for _, step in weights_with(model, LargestWeights):
        step.pruned = int(share * step.final_pruned)


def largest(weight: Tensor, count: int) -> Tensor:
    """Return a mask of the shape and dtype of ``weight`` with exactly ``count`` ones."""
    mask = torch.zeros_like(weight, memory_format=torch.contiguous_format)
    kept = weight.abs().flatten().topk(count, sorted=False).indices
    mask.view(-1)[kept] = 1
    return mask


def _check_fits(densities: Mapping[str, float], model: nn.Module) -> None:
    """Raise ``ValueError`` unless ``densities`` in [0, 1] name exactly the layers of ``model``."""
    names = [weight.name for weight in weight_tensors(model)]
    missing = [name for name in names if name not in densities]
    unknown = [name for name in densities if name not in names]
    if missing or unknown:
        raise ValueError(
            "the budget and the model differ in their layers; only in the model: "
            f"{missing[:3]}, only in the budget: {unknown[:3]}"
        )
    for name, density in densities.items():
        if not 0 <= density <= 1:
            raise ValueError(f"the density of {name} is {density}, not between 0 and 1")

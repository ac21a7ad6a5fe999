"""How a wanted sparsity is shared over the layers when nothing is learned: uniform and ERK."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import nn

from strsweep.sparsity.layers import WeightTensor, weight_tensors, without


def check_fits(densities: Mapping[str, float], model: nn.Module) -> None:
    """Check that ``densities`` names exactly the layers of ``model``.

    Raises:
        ValueError: A layer is missing or unknown, or a density is outside [0, 1].
    """
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


def equal_share(_: WeightTensor) -> float:
    """Give every layer the same density."""
    return 1.0


def sides_over_size(weight: WeightTensor) -> float:
    """Return the sum over the product of the sides of a weight (arXiv 1911.11134, section 3).

    That is ``(in + out + height + width) / (in * out * height * width)`` for a convolution.
    """
    return sum(weight.original.shape) / weight.original.numel()


def allocate(
    model: nn.Module,
    sparsity: float,
    dense: Sequence[str],
    share: Callable[[WeightTensor], float],
) -> dict[str, float]:
    """Return layer name -> density, in proportion to ``share`` for all but the ``dense`` layers.

    Raises:
        ValueError: The sparsity cannot be reached.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity: got {sparsity}, use a fraction in [0, 1)")
    weights = weight_tensors(model)
    kept = (1 - sparsity) * sum(weight.original.numel() for weight in weights)
    pruned = without(weights, dense)
    while True:
        full = [weight for weight in weights if weight not in pruned]
        left = kept - sum(weight.original.numel() for weight in full)
        total = math.fsum(share(weight) * weight.original.numel() for weight in pruned)
        if left < 0 or not pruned:
            break
        factor = left / total
        # A layer cannot keep more than all of its weights: the others then get less.
        fitting = [weight for weight in pruned if factor * share(weight) <= 1]
        if len(fitting) == len(pruned):
            densities = {weight.name: factor * share(weight) for weight in pruned}
            return {weight.name: densities.get(weight.name, 1.0) for weight in weights}
        pruned = fitting
    if not pruned and abs(left) <= 0.5:
        return {weight.name: 1.0 for weight in weights}
    raise ValueError(
        f"sparsity {sparsity:g} cannot be reached while {[w.name for w in full]} stay dense"
    )

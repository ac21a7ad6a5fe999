"""Where to cut the entries of many tensors in two, so that the lower part is a wanted share.

A share is one of weights, or one of multiply-adds: an entry then counts as often as it is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from strsweep.sparsity.layers import WeightTensor, weight_tensors
from strsweep.sparsity.measure import measure
from strsweep.sparsity.products import Example

ROUNDING = 1e-3
"""Of multiply-adds, weights or ranks: less than one, and more than a share times 1e12 is off by."""
_FAR, _NEAR = 100.0, 1e-6
"""Distances in the argument of a threshold function: thresholds are next to 0, or next to equal."""

Uses = Mapping[str, float]
"""Layer name -> multiply-adds of one of its weights, for one input."""
Values = Sequence[tuple[WeightTensor, Tensor]]
"""Weights that can be pruned, with a value for each of their entries: smaller ones go first."""


class Cut(NamedTuple):
    """Entries up to the value ``last`` are pruned, those from ``following`` on are kept.

    Both have no dimension and stay on their device, so that nothing waits for it.
    """

    last: Tensor
    following: Tensor

    @property
    def middle(self) -> Tensor:
        """A value between the two, and finite unless both are the same infinity.

        -inf are weights of exactly 0, inf those that no threshold prunes.
        """
        middle = (self.last + self.following) / 2
        only_zeros, all_others = self.last.isneginf(), self.following.isposinf()
        middle = torch.where(only_zeros, self.following - _FAR, middle)
        middle = torch.where(all_others, self.last + _NEAR, middle)
        return torch.where(only_zeros & all_others, 0.0, middle)


def weight_uses(model: nn.Module, example: Example) -> dict[str, float]:
    """Return how many multiply-adds one weight of each layer takes for one input.

    A weight that is used in parts, some more often than others, counts with their mean.
    """
    layers = measure(model, example).layers
    return {layer.name: (layer.dense_macs or 0) / layer.weights for layer in layers}


def find_cut(
    model: nn.Module, values: Values, share: float, uses: Uses | None = None
) -> Cut | None:
    """Find the cut that prunes ``share``, exactly unless values are equal; None: nothing.

    Args:
        model: Whose weights, dense ones included, the share is one of.
        values: Of the weights that can be pruned.
        share: To prune, in [0, 1).
        uses: Given, the share is one of multiply-adds, and what stays is the most that is not
            above the rest. Not given, it is one of weights, to the nearest.

    Raises:
        ValueError: The weights that can be pruned are too few.
    """
    wanted = _wanted(model, values, share, uses)
    if not wanted:
        return None
    entries = torch.cat([value.flatten() for _, value in values])
    if uses is None:
        # Those that stay are few: this takes half as long as asking for two ranks.
        above = entries.topk(len(entries) - wanted + 1, sorted=False).values
        return Cut(*above.topk(2, largest=False).values)
    ordered, order = entries.sort()
    count = _count(values, order, wanted, uses)
    return Cut(ordered[count - 1], ordered[count.clamp(max=len(ordered) - 1)])


@torch.no_grad()
def part_equals(
    model: nn.Module,
    values: Values,
    thresholds: Sequence[Tensor],
    share: float,
    uses: Uses | None = None,
) -> None:
    """Move the weights that thresholds at the cut would prune or keep against ``share``.

    Some of millions of weights are equal, or differ by less than a threshold can tell. Of those,
    the first in the model are pruned. A weight is moved to its threshold, or to the least step of
    its type above it, which is less than a training step does to it; to mask it instead, the mask
    would have to be stored.

    ``thresholds`` are those of each weight, set to the cut; the other arguments are those of
    ``find_cut``.
    """
    wanted = _wanted(model, values, share, uses)
    order = torch.cat([value.flatten() for _, value in values]).argsort(stable=True)
    count = wanted if uses is None or not wanted else _count(values, order, wanted, uses)
    pruned = torch.empty_like(order, dtype=torch.bool)
    pruned[order] = torch.arange(len(order), device=order.device) < count
    parts = pruned.split([value.numel() for _, value in values])
    for (weight, _), threshold, part in zip(values, thresholds, parts, strict=True):
        entries, threshold = weight.original, threshold.to(weight.original.dtype)
        above = torch.nextafter(threshold, torch.full_like(threshold, torch.inf))
        is_pruned, part = entries.abs() <= threshold, part.view_as(entries)
        wanted_magnitude = torch.where(part, threshold, above)
        is_off = part ^ is_pruned
        entries.copy_(torch.where(is_off, entries.sign() * wanted_magnitude, entries))


def _wanted(model: nn.Module, values: Values, share: float, uses: Uses | None) -> int:
    """Return the weights or multiply-adds to prune."""
    total = sum(_size(weight, uses) for weight in weight_tensors(model))
    available = sum(_size(weight, uses) for weight, _ in values)
    wanted = round(share * total) if uses is None else math.ceil(share * total - ROUNDING)
    if wanted >= available:
        noun = "weights" if uses is None else "multiply-adds"
        raise ValueError(
            f"{wanted} of {total:.0f} {noun} are to be pruned, but only {available:.0f} can be: "
            "leave fewer layers dense"
        )
    return wanted


def _size(weight: WeightTensor, uses: Uses | None) -> float:
    return weight.original.numel() * (1 if uses is None else uses[weight.name])


def _count(values: Values, order: Tensor, wanted: int, uses: Uses) -> Tensor:
    """Return how many entries, in ``order``, have ``wanted`` multiply-adds together."""
    each = torch.cat([
        torch.full((value.numel(),), uses[weight.name], dtype=torch.float64, device=order.device)
        for weight, value in values
    ])
    return (each[order].cumsum(0) < wanted).sum() + 1

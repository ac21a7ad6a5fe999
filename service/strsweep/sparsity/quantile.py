"""Which entries of many tensors go, the smallest first, so that a wanted share of a model does.

A share is one of weights, or one of multiply-adds: an entry then counts as often as it is used.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from strsweep.sparsity.layers import WeightTensor, weight_tensors

ROUNDING = 1e-3
"""Of multiply-adds, weights or ranks: less than one, and more than a share times 1e12 is off by."""
_FAR, _NEAR = 100.0, 1e-6
"""Distances in the argument of a threshold function: thresholds are next to 0, or next to equal."""

Uses = Mapping[str, float]
"""Layer name -> multiply-adds of one of its weights, for one input."""


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


class Selection:
    """The entries with the smallest values, as many as make up a share of a model: they go.

    Args:
        model: Whose weights, dense ones included, the share is one of.
        values: Weights that can be pruned, with a value for each of their entries.
        share: To prune, in [0, 1).
        uses: Given, the share is one of multiply-adds, and what stays is the most that is not
            above the rest. Not given, it is one of weights, to the nearest.

    Raises:
        ValueError: The weights that can be pruned are too few.
    """

    def __init__(
        self,
        model: nn.Module,
        values: Sequence[tuple[WeightTensor, Tensor]],
        share: float,
        uses: Uses | None = None,
    ) -> None:
        self._values, self._uses = values, uses
        total = sum(map(self._size, weight_tensors(model)))
        available = sum(self._size(weight) for weight, _ in values)
        wanted = round(share * total) if uses is None else math.ceil(share * total - ROUNDING)
        if wanted >= available:
            noun = "weights" if uses is None else "multiply-adds"
            raise ValueError(
                f"{wanted} of {total:.0f} {noun} are to be pruned, but only {available:.0f} can "
                "be: leave fewer layers dense"
            )
        self._wanted = wanted

    def cut(self) -> Cut | None:
        """Return what tells them from the others, unless some are equal; None: none goes."""
        if not self._wanted:
            return None
        if self._uses is None:
            # Those that stay are few: this takes half as long as asking for two ranks.
            entries = self._entries
            above = entries.topk(len(entries) - self._wanted + 1, sorted=False).values
            return Cut(*above.topk(2, largest=False).values)
        ordered, count = self._entries[self._order], self._count
        return Cut(ordered[count - 1], ordered[count.clamp(max=len(ordered) - 1)])

    @torch.no_grad()
    def is_made(self) -> bool:
        """Return whether as many are 0 already."""
        zero = torch.cat([(weight.value == 0).flatten() for weight, _ in self._values])
        if self._uses is None:
            return int(zero.sum()) == self._wanted
        return bool((zero.sum() == self._count) & ((self._each * zero).sum() >= self._wanted))

    @torch.no_grad()
    def part_equals(self, thresholds: Sequence[Tensor]) -> None:
        """Move the weights that ``thresholds``, those of each weight, prune or keep against it.

        Some of millions of weights are equal, or differ by less than a threshold can tell. Of
        those, the first in the model go. A weight is moved to its threshold, or to the least step
        of its type above it, which is less than a training step does to it; to mask it instead,
        the mask would have to be stored.
        """
        order = self._order
        goes = torch.empty_like(order, dtype=torch.bool)
        goes[order] = torch.arange(len(order), device=order.device) < self._count
        parts = goes.split([value.numel() for _, value in self._values])
        for (weight, _), threshold, part in zip(self._values, thresholds, parts, strict=True):
            entries, threshold = weight.original, threshold.to(weight.original.dtype)
            is_off = part.view_as(entries) ^ (entries.abs() <= threshold)
            wanted = torch.where(part.view_as(entries), threshold, next_above(threshold))
            entries.copy_(torch.where(is_off, entries.sign() * wanted, entries))

    def _size(self, weight: WeightTensor) -> float:
        return weight.original.numel() * (1 if self._uses is None else self._uses[weight.name])

    @cached_property
    def _entries(self) -> Tensor:
        return torch.cat([value.flatten() for _, value in self._values])

    @cached_property
    def _order(self) -> Tensor:
        return self._entries.argsort(stable=True)

    @cached_property
    def _each(self) -> Tensor:
        """What every entry counts."""
        uses = self._uses
        assert uses is not None
        each = [torch.full_like(x, uses[w.name], dtype=torch.float64) for w, x in self._values]
        return torch.cat([counts.flatten() for counts in each])

    @property
    def _count(self) -> Tensor:
        """How many entries go, in order."""
        if self._uses is None:
            return torch.tensor(self._wanted, device=self._entries.device)
        each = self._each[self._order]
        return (each.cumsum(0) - each < self._wanted).sum()


def next_above(threshold: Tensor) -> Tensor:
    """Return the least magnitudes above ``threshold``, which prunes what is equal to it."""
    return torch.nextafter(threshold, torch.full_like(threshold, torch.inf))

"""What is left of a model while it trains, in ranks, weights or multiply-adds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from strsweep.sparsity.convert import weights_with
from strsweep.sparsity.layers import WeightTensor
from strsweep.sparsity.lowrank import Factored
from strsweep.sparsity.measure import SparsityReport, measure
from strsweep.sparsity.products import Example
from strsweep.sparsity.quantile import ROUNDING
from strsweep.sparsity.threshold import SoftThreshold

Quantity = Literal["sparsity", "macs", "rank"]


@dataclass(frozen=True, kw_only=True)
class RankCost:
    """Counts what is left of a model whose ranks are learned."""

    layers: tuple[Factored, ...]
    units: tuple[float, ...]
    """What one weight of each layer costs; of ranks, 0."""
    fixed: float
    """What all other layers cost."""
    total: float
    """What the dense model costs; of ranks, all of them."""

    @classmethod
    def of(cls, layers: Sequence[Factored], report: SparsityReport, quantity: Quantity) -> RankCost:
        """Return the cost in ``quantity``; ``report`` is of the model with these layers."""
        if quantity == "rank":
            units = (0.0,) * len(layers)
            return cls(layers=tuple(layers), units=units, fixed=0, total=report.full_rank)
        uses = report.uses(quantity)
        others = (row for row in report.layers if row.rank is None)
        return cls(
            layers=tuple(layers),
            units=tuple(uses[layer.name] for layer in layers),
            fixed=sum((row.weights - row.zeros) * uses[row.name] for row in others),
            total=sum(row.weights * uses[row.name] for row in report.layers),
        )

    def kept(self) -> float:
        """Return the share that is kept by the ranks of now."""
        return self.at(torch.stack([layer.kept.sum() for layer in self.layers]).tolist())

    def at(self, ranks: Sequence[int]) -> float:
        """Return the share that is kept where the layers have these ``ranks``."""
        each = zip(self.layers, self.units, ranks, strict=True)
        sizes = (layer.weights_at(rank) * unit if unit else rank for layer, unit, rank in each)
        return (self.fixed + sum(sizes)) / self.total

    def to_cut(self, order: Tensor, share: float) -> int:
        """Return how many ranks must go so that at most ``share`` of the total is left.

        Args:
            order: Indices into the ranks of all layers, in the order in which they go; the last of
                them are one for each layer, and stay.
            share: In (0, 1].

        Raises:
            ValueError: Ranks of 1 are more.
        """
        full = torch.tensor([layer.full_rank for layer in self.layers])
        owners = torch.repeat_interleave(full)[order.cpu()]

        def is_enough(count: int) -> bool:
            return self.at(owners[count:].bincount().tolist()) <= share + ROUNDING / self.total

        counts = range(len(order) - len(full) + 1)
        if not is_enough(counts[-1]):
            raise ValueError("ranks of 1 are above it already: learn the rank of more layers")
        return bisect_left(counts, True, key=is_enough)


@dataclass(frozen=True, kw_only=True)
class WeightCost:
    """Counts what is left of a model whose weights have thresholds."""

    weights: Sequence[tuple[WeightTensor, SoftThreshold]]
    uses: Mapping[str, float]
    """What one weight of each layer costs."""
    dense: float
    """What the layers without thresholds cost."""
    total: float
    """What the dense model costs."""

    @classmethod
    def of(cls, model: nn.Module, quantity: Quantity, example: Example) -> WeightCost:
        """Return the cost of ``model``; ``example`` is one input, as of ``measure``."""
        report = measure(model, example)
        uses = report.uses("macs" if quantity == "macs" else "sparsity")
        weights = weights_with(model, SoftThreshold)
        total = sum(row.weights * uses[row.name] for row in report.layers)
        own = sum(weight.original.numel() * uses[weight.name] for weight, _ in weights)
        return cls(weights=weights, uses=uses, dense=total - own, total=total)

    @torch.no_grad()
    def kept(self) -> Tensor:
        """Return the share that is kept now, float64 of shape [], on the device of the model."""
        each = [
            self.uses[weight.name] * (step(weight.original) != 0).sum().double()
            for weight, step in self.weights
        ]
        return (torch.stack(each).sum() + self.dense) / self.total

"""What is left of a model while it trains, in ranks, weights or multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from strsweep.sparsity.convert import weights_with
from strsweep.sparsity.layers import WeightTensor, weight_tensors
from strsweep.sparsity.lowrank import Factored
from strsweep.sparsity.measure import SparsityReport
from strsweep.sparsity.products import Example
from strsweep.sparsity.quantile import ROUNDING, weight_uses
from strsweep.sparsity.threshold import SoftThreshold

Quantity = Literal["sparsity", "macs", "rank"]


@dataclass(frozen=True, kw_only=True)
class RankCost:
    """Counts what is left of a model whose ranks are learned."""

    layers: tuple[Factored, ...]
    units: tuple[int, ...]
    """What one weight of each layer costs; of ranks, 0."""
    fixed: int
    """What all other layers cost."""
    total: int
    """What the dense model costs; of ranks, all of them."""

    @classmethod
    def of(cls, layers: Sequence[Factored], report: SparsityReport, quantity: Quantity) -> RankCost:
        """Return the cost in ``quantity``; ``report`` is of the model with these layers."""
        if quantity == "rank":
            units = (0,) * len(layers)
            return cls(layers=tuple(layers), units=units, fixed=0, total=report.full_rank)
        rows = {
            row.name: 1 if quantity == "sparsity" else (row.dense_macs or 0) // row.weights
            for row in report.layers
        }
        others = (row for row in report.layers if row.rank is None)
        totals = {"sparsity": report.weights, "macs": report.dense_macs or 0}
        return cls(
            layers=tuple(layers),
            units=tuple(rows[layer.name] for layer in layers),
            fixed=sum((row.weights - row.zeros) * rows[row.name] for row in others),
            total=totals[quantity],
        )

    def kept(self) -> float:
        """Return the share that is kept by the ranks of now."""
        ranks: list[int] = torch.stack([layer.kept.sum() for layer in self.layers]).tolist()
        return (self.fixed + sum(map(self._size, range(len(ranks)), ranks))) / self.total

    @property
    def at_rank_1(self) -> float:
        """The share that is left where every layer has a rank of 1."""
        sizes = (self._size(index, 1) for index in range(len(self.layers)))
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
        ranks = [layer.full_rank for layer in self.layers]
        sizes = [self._size(index, rank) for index, rank in enumerate(ranks)]
        owners = [index for index, rank in enumerate(ranks) for _ in range(rank)]
        allowed = math.floor(share * self.total + ROUNDING)
        for count, entry in enumerate((None, *order.tolist()[: -len(ranks)])):
            if entry is not None:
                owner = owners[entry]
                ranks[owner] -= 1
                sizes[owner] = self._size(owner, ranks[owner])
            if self.fixed + sum(sizes) <= allowed:
                return count
        raise ValueError("ranks of 1 are above it already: learn the rank of more layers")

    def _size(self, index: int, rank: int) -> int:
        unit = self.units[index]
        return self.layers[index].weights_at(rank) * unit if unit else rank


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
        every = weight_tensors(model)
        uses = weight_uses(model, example) if quantity == "macs" else {w.name: 1.0 for w in every}
        weights = weights_with(model, SoftThreshold)
        total = sum(weight.original.numel() * uses[weight.name] for weight in every)
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

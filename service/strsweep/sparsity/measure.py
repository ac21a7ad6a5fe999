"""Count zeros, weights and multiply-adds, per layer and in total, as exact integers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from strsweep.sparsity.convert import parametrization_of
from strsweep.sparsity.layers import WeightTensor, weight_tensors
from strsweep.sparsity.lowrank import Factored, LowRank
from strsweep.sparsity.products import Example, products
from strsweep.sparsity.threshold import Pruning


@dataclass(frozen=True, kw_only=True)
class LayerSparsity:
    """What one convolution or linear layer keeps; layers that share a weight are one.

    Of a layer of low rank the zeros are the weights that its factors save.
    """

    name: str
    parameter: str
    """Name of the weight in the state of the dense model."""
    weights: int
    zeros: int
    dense_macs: int | None
    """Multiply-adds of the dense layer for one input; None if no example was given."""
    macs: int | None
    """Multiply-adds that are left when zero weights are skipped."""
    threshold: float | None
    """Learned threshold, the mean if there are several; None for a layer without one."""
    rank: int | None = None
    """Of a layer whose rank is learned; None for others."""
    full_rank: int | None = None

    @property
    def excess(self) -> float:
        """What its factors have beyond one matrix in their place, as a share of that."""
        if not self.rank or not self.full_rank:
            return 0.0
        sides = self.full_rank + self.weights // self.full_rank
        return max(self.rank * sides / self.weights - 1, 0.0)

    @property
    def sparsity(self) -> float:
        """Share of exact zeros, in [0, 1]."""
        return self.zeros / self.weights


@dataclass(frozen=True, kw_only=True)
class SparsityReport:
    """The layers of one model, in the order of the model, and their totals."""

    layers: tuple[LayerSparsity, ...]

    @property
    def weights(self) -> int:
        """Number of convolution and linear weights: the paper's denominator (appendix A.7)."""
        return sum(layer.weights for layer in self.layers)

    @property
    def zeros(self) -> int:
        """Number of weights that are exactly zero."""
        return sum(layer.zeros for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """Share of exact zeros among the weights, in [0, 1]."""
        return self.zeros / self.weights

    @property
    def dense_macs(self) -> int | None:
        """Multiply-adds of the dense model for one input; batch norm is not counted."""
        return _total(layer.dense_macs for layer in self.layers)

    @property
    def macs(self) -> int | None:
        """Multiply-adds that are left when zero weights are skipped."""
        return _total(layer.macs for layer in self.layers)

    @property
    def ranks(self) -> dict[str, int]:
        """Layer name -> rank, of the layers whose rank is learned."""
        return {layer.name: layer.rank for layer in self.layers if layer.rank is not None}

    @property
    def full_rank(self) -> int:
        """Sum of the largest ranks of those layers."""
        return sum(layer.full_rank or 0 for layer in self.layers)

    def uses(self, quantity: Literal["sparsity", "macs"]) -> dict[str, float]:
        """Return what one weight of each layer counts: 1, or its multiply-adds for one input.

        A weight that is used in parts, some more often than others, counts with their mean.
        """
        is_macs = quantity == "macs"
        return {x.name: (x.dense_macs or 0) / x.weights if is_macs else 1.0 for x in self.layers}

    def excess(self, quantity: Literal["sparsity", "macs"]) -> float:
        """Return what factors have beyond one matrix in their place, as a share of the total."""
        uses = self.uses(quantity)
        each = [(layer.excess, layer.weights * uses[layer.name]) for layer in self.layers]
        return sum(excess * size for excess, size in each) / sum(size for _, size in each)


def measure(model: nn.Module, example: Example | None = None) -> SparsityReport:
    """Count the zeros of ``model``, on the thresholded weights and on the device they are on.

    Args:
        model: Sparsified, baked or dense.
        example: One input, e.g. ``torch.zeros(1, 3, 224, 224)``; a tuple for a model of several
            arguments. The model is run once on it to see how often each weight is used.

    Returns:
        One entry per convolution and linear weight. MACs are None without ``example``; they are
        those of convolutions and matrix products, wherever they are, and of no other operation.

    Raises:
        ValueError: The model has no convolution or linear layer.
    """
    weights = weight_tensors(model)
    if not weights:
        raise ValueError("the model has no convolution or linear layer to measure")
    with torch.no_grad(), parametrize.cached():  # thresholded once
        counts = _integers(_count(weight) for weight in weights)
        dense = left = [None] * len(weights)
        if example is not None:
            found = products(model, weights, example)
            dense, left = found.dense, _integers(found.remaining)
    rows = zip(weights, counts, dense, left, strict=True)
    return SparsityReport(layers=tuple(_layer(*row) for row in rows))


def _count(weight: WeightTensor) -> Tensor:
    """Return the rank of a weight whose rank is learned, else its zeros."""
    step = parametrization_of(weight, LowRank)
    if step is not None:
        return Factored(weight=weight, step=step).kept.sum()
    return (weight.value == 0).sum()


def _layer(weight: WeightTensor, count: int, dense: int | None, left: int | None) -> LayerSparsity:
    step = parametrization_of(weight, Pruning)
    threshold = getattr(step, "threshold", None)
    size, zeros, ranks = weight.original.numel(), count, dict[str, int]()
    if isinstance(step, LowRank):
        layer = Factored(weight=weight, step=step)
        size = math.prod(layer.size)
        zeros = size - layer.weights_at(count)
        left = None if dense is None else dense // size * (size - zeros)
        ranks = {"rank": count, "full_rank": layer.full_rank}
    return LayerSparsity(
        name=weight.name,
        parameter=weight.parameter,
        weights=size,
        zeros=zeros,
        dense_macs=dense,
        macs=left,
        threshold=None if threshold is None else threshold.mean().item(),
        **ranks,
    )


def _integers(counts: Iterable[Tensor]) -> list[int]:
    # One transfer for all layers: a copy per layer would stop the GPU 54 times on a ResNet50.
    return torch.stack(list(counts)).tolist()


def _total(values: Iterator[int | None]) -> int | None:
    counted = [value for value in values if value is not None]
    return sum(counted) if counted else None

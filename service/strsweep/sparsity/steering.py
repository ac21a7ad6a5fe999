"""Steered thresholds: learned as in STR, and shifted together so that a sparsity is met exactly.

This goes beyond the paper. The threshold of a layer is ``k * g(s + c)``: ``s`` is learned and says
which layers give more than others; ``c`` is one number for the whole model that is solved for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from strsweep.sparsity.convert import (
    AnyModule,
    Granularity,
    parametrization_of,
    prunable,
    put_thresholds,
)
from strsweep.sparsity.layers import WeightTensor, weight_tensors
from strsweep.sparsity.threshold import SoftThreshold, ThresholdFunction

_NOTHING_PRUNED = -1e4
"""An offset so far below zero that every threshold is 0."""


class SteeredThreshold(SoftThreshold):
    """A soft threshold ``k * g(s + c)``; arguments as those of ``SoftThreshold``."""

    offset: Tensor
    """``c``, shape [], float64: the least step of a float32 would move several weights."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # pyright: ignore[reportArgumentType]
        self.register_buffer("offset", torch.tensor(_NOTHING_PRUNED, dtype=torch.float64))

    @property
    def level(self) -> Tensor:
        """What the function is applied to: ``s + c``, in float64."""
        return self.s + self.offset

    def critical_offset(self, weight: Tensor) -> Tensor:
        """Return for every entry of ``weight`` the ``c`` from which on it is pruned, float64."""
        magnitude = weight.detach().abs().double() / self.scale
        if self.function == "exp":
            return magnitude.log() - self.s.detach()
        return torch.logit(magnitude.clamp(max=1.0)) - self.s.detach()


def steerable(
    model: AnyModule,
    *,
    function: ThresholdFunction = "sigmoid",
    granularity: Granularity = "layer",
    scale: float = 1.0,
    skip: Sequence[str] = (),
) -> AnyModule:
    """Give every convolution and linear weight of ``model`` a steered threshold, in place.

    Nothing is pruned before the first ``steer``. Arguments, result and errors are those of
    ``sparsify``; every ``s`` starts at 0, as the common shift sets the level.
    """
    put_thresholds(
        prunable(model, skip),
        granularity,
        lambda shape: SteeredThreshold(0.0, function, scale=scale, shape=shape),
    )
    return model


def steer(model: nn.Module, sparsity: float) -> None:
    """Shift all thresholds of ``model`` so that its sparsity is ``sparsity``, to the weight.

    Args:
        model: Made by ``steerable``.
        sparsity: Wanted share of zeros among all convolution and linear weights, dense layers
            included, in [0, 1).

    Raises:
        ValueError: The model has no steered threshold, or its dense layers leave too few weights.
    """
    weights = weight_tensors(model)
    steered = [(w, s) for w in weights if (s := parametrization_of(w, SteeredThreshold))]
    if not steered:
        raise ValueError("the model has no steered thresholds: use steerable()")
    zeros = round(sparsity * sum(weight.original.numel() for weight in weights))
    offset = _offset(steered, zeros)
    for _, threshold in steered:
        threshold.offset.fill_(offset)


def _offset(steered: list[tuple[WeightTensor, SteeredThreshold]], zeros: int) -> Tensor:
    """Return the offset between that of the last weight to prune and that of the next one."""
    critical = torch.cat([
        threshold.critical_offset(weight.original).flatten() for weight, threshold in steered
    ])
    if zeros >= len(critical):
        raise ValueError(
            f"{zeros} zeros are wanted, but only {len(critical)} weights can be pruned: "
            "leave fewer layers dense"
        )
    if zeros == 0:
        return critical.new_tensor(_NOTHING_PRUNED)
    last, following = (critical.kthvalue(rank).values for rank in (zeros, zeros + 1))
    return (last + following) / 2

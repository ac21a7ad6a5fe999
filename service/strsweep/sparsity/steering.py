"""Steered thresholds: learned as in STR, and shifted together so that a sparsity is met exactly.

This goes beyond the paper. The threshold of a layer is ``k * g(s + c)``: ``s`` is learned and says
which layers give more than others; ``c`` is one number for the whole model that is solved for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from strsweep.sparsity.convert import (
    AnyModule,
    Granularity,
    prunable,
    put_thresholds,
    threshold_parameters,
    weights_with,
)
from strsweep.sparsity.quantile import Cut, Uses, find_cut, part_equals
from strsweep.sparsity.scheduled import ScheduledThreshold
from strsweep.sparsity.threshold import SoftThreshold, ThresholdFunction

_NOTHING_PRUNED = -1e4
"""An offset so far below zero that every threshold is 0."""
_STEEPEST = 1.0
"""Change of the loss per e-fold of a threshold. On digits it is 0.01 to 0.5; from 99 % on a layer
that batch norm follows can have 25 in one step, as its few values have become tiny."""


class SteeredThreshold(SoftThreshold):
    """A soft threshold ``k * g(s + c)``; arguments are those of ``SoftThreshold``."""

    offset: Tensor
    """``c``, shape [], float64: the least step of a float32 would move several weights."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("offset", torch.tensor(_NOTHING_PRUNED, dtype=torch.float64))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # Moving is fine; the type stays.
        precise = self.offset
        super()._apply(fn, recurse)
        self.offset = precise.to(self.s.device)
        return self

    @property
    def level(self) -> Tensor:
        """What the function is applied to: ``s + c``, in float64."""
        return self.s.double() + self.offset  # a c of no dimension would not widen several s

    def set_cut(self, cut: Cut | None) -> None:
        """Prune what is critical up to the cut; None: nothing."""
        if cut is None:
            self.offset.fill_(_NOTHING_PRUNED)
        else:
            self.offset.copy_((cut.last + cut.following) / 2)


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


@torch.no_grad()
def steer(
    model: nn.Module, share: float, uses: Uses | None = None, *, exactly: bool = False
) -> None:
    """Set the thresholds of ``model`` so that ``share`` of it is pruned.

    Steered ones are shifted together; the scheduled one is set.

    Args:
        model: Made by ``steerable`` or ``schedulable``.
        share: To prune of all convolution and linear weights, dense layers included, in [0, 1).
        uses: Given (see ``weight_uses``), ``share`` is one of multiply-adds, and what is left of
            them is the most that is not above the rest.
        exactly: To the weight, also where thresholds cannot tell weights apart (see
            ``part_equals``). Takes longer.

    Raises:
        ValueError: The model has no such threshold, or its dense layers leave too few weights.
    """
    steps = weights_with(model, SteeredThreshold) or weights_with(model, ScheduledThreshold)
    if not steps:
        raise ValueError("the model has no thresholds to set: use steerable() or schedulable()")
    critical = [(weight, step.critical(weight.original)) for weight, step in steps]
    cut = find_cut(model, critical, share, uses)
    for _, step in steps:
        step.set_cut(cut)
    if cut is not None and exactly:
        part_equals(model, critical, [step.threshold for _, step in steps], share, uses)


def bound_gradients(model: nn.Module, optimizer: Optimizer) -> None:
    """Let no single step of ``optimizer`` decide how steered layers of ``model`` share the weights.

    Elements of the gradient of ``s``, about the change of the loss per e-fold of a threshold, are
    held within 1 from now on. Unbounded, one steep step is carried on by momentum until a layer
    keeps nearly all that is left; the shift that holds the sparsity then starves the others, and
    nothing brings them back. It happened in 6 of 26 runs on digits at 99.5 %.

    Args:
        model: Made by ``steerable``; any other is left alone.
        optimizer: Of its parameters. A gradient scaler has unscaled them when this looks.
    """
    if not weights_with(model, SteeredThreshold):
        return
    levels = threshold_parameters(model)

    def bound(*_: object) -> None:
        nn.utils.clip_grad_value_(levels, _STEEPEST)

    optimizer.register_step_pre_hook(bound)


def is_out_of_reach(model: nn.Module) -> bool:
    """Tell whether ``steer`` met weights above ``scale``, which no sigmoid threshold can prune."""
    steered = weights_with(model, SteeredThreshold)
    return bool(steered) and bool(steered[0][1].offset == torch.inf)  # one for all

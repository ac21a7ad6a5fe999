"""Thresholds that one number sets so that a wanted share of the weights is pruned.

Steered ones, ``k * g(s + c)``, go beyond the paper: ``s`` is learned as in STR and says which
layers give more than others; ``c`` is one number for the whole model that is solved for.

The scheduled one is the operator of ST-3 (WACV 2023). Nothing about it is learned: it is the
quantile of the magnitudes of all weights at the share to prune. Pruned weights get a gradient, too,
and the values of a filter are scaled up to make good for what it lost. ST-3 passes the gradient on
as it is, and its authors clip the norm at 3.0; damping that of pruned weights instead, which needs
no clip, is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from strsweep.sparsity.convert import (
    AnyModule,
    Granularity,
    parametrized,
    prunable,
    put_thresholds,
    threshold_parameters,
    weights_with,
)
from strsweep.sparsity.quantile import Cut, Selection, Uses
from strsweep.sparsity.threshold import Pruning, SoftThreshold, ThresholdFunction, soft_threshold

_SCALE = 1.01
_SCALE_FLOOR = 0.01
"""The scale of a filter is at most 101."""
_NOTHING_PRUNED = -1e4
"""An offset so far below zero that every threshold is 0."""
_STEEPEST = 1.0
"""Change of the loss per e-fold of a threshold. On digits it is 0.01 to 0.5; from 99 % on a layer
that batch norm follows can have 25 in one step, as its few values have become tiny."""


class ScheduledThreshold(Pruning):
    """Parametrization of a weight: soft threshold, then a scale per output filter.

    The scale is ``1.01 / (r + 0.01)``, where ``r`` is the share of the filter's magnitude that lies
    in the weights it keeps.

    Args:
        filter_axis: Axis of the output filters.
        groups: Blocks of rows with filters of their own, as of ``WeightTensor.filter_groups``.
        is_damped: Pruned entries get part of their gradient only; ST-3 gives them all of it.
    """

    threshold: Tensor
    """Shape []: weights at or below it in magnitude are pruned."""

    def __init__(self, filter_axis: int = 0, *, groups: int = 1, is_damped: bool = True) -> None:
        super().__init__()
        self.filter_axis, self.groups, self.is_damped = filter_axis, groups, is_damped
        self.register_buffer("threshold", torch.zeros(()))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the thresholded, scaled weight; pruned entries get a gradient, too.

        Damped, entries that are kept get all of it, and those that are pruned as much as their
        output filter keeps of its magnitude: of what batch norm follows, the gradient of a filter
        grows as its values shrink, and would push the pruned entries up, the threshold with them,
        and the values of the others further down. A filter of which nothing is left gets none and
        stays empty; at 99.5 % on digits most filters of the last two layers are.
        """
        weight_now = weight.detach()
        magnitude = weight_now.abs()
        thresholded = soft_threshold(weight_now, self.threshold.to(weight.dtype))
        total = self._filter_sums(magnitude)
        whole = total.clamp(min=torch.finfo(weight.dtype).tiny)
        kept = self._filter_sums(magnitude.where(magnitude > self.threshold, 0))
        scale = _SCALE / (kept / whole + _SCALE_FLOOR)
        gradient = weight - weight_now
        if self.is_damped:
            left = thresholded.abs()
            share = torch.where(total > 0, self._filter_sums(left) / whole, 1.0)  # zeros at first
            gradient = gradient * torch.where(left > 0, 1.0, share)
        return thresholded * scale + gradient

    def critical(self, weight: Tensor) -> Tensor:
        """Return for every entry of ``weight`` the threshold from which on it is pruned."""
        return weight.abs()

    def set_cut(self, cut: Cut | None) -> None:
        """Prune what is critical up to the cut; None: nothing."""
        self.threshold.zero_() if cut is None else self.threshold.copy_(cut.last)

    def _filter_sums(self, values: Tensor) -> Tensor:
        blocks = values.unflatten(0, (self.groups, -1))
        own = {0, 1} if self.filter_axis == 0 else {0, self.filter_axis + 1}
        sums = blocks.sum([axis for axis in range(blocks.ndim) if axis not in own], keepdim=True)
        return sums.expand(*blocks.shape[:2], *sums.shape[2:]).flatten(0, 1)


def schedulable(model: AnyModule, *, is_damped: bool = True, skip: Sequence[str] = ()) -> AnyModule:
    """Put the common threshold on every convolution and linear weight of ``model``, in place.

    Nothing is pruned before the first ``steer``. ``is_damped`` is that of ``ScheduledThreshold``;
    all else is as of ``sparsify``.
    """
    for weight in prunable(model, skip):
        axis = weight.filter_axis
        parametrized(
            weight, ScheduledThreshold(axis, groups=weight.filter_groups, is_damped=is_damped)
        )
    return model


class SteeredThreshold(SoftThreshold):
    """A soft threshold ``k * g(s + c)``; arguments are those of ``SoftThreshold``."""

    offset: Tensor
    """``c``, shape [], float64: the least step of a float32 would move several weights."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register_buffer("offset", torch.tensor(_NOTHING_PRUNED, dtype=torch.float64))

    @property
    def level(self) -> Tensor:
        """What the function is applied to: ``s + c``, in float64."""
        # A c of no dimension would not widen several s.
        return self._spread(self.s).double() + self.offset

    def set_cut(self, cut: Cut | None) -> None:
        """Prune what is critical up to the cut; None: nothing."""
        if cut is None:
            self.offset.fill_(_NOTHING_PRUNED)
        else:
            self.offset.copy_(cut.middle.clamp(min=_NOTHING_PRUNED))


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
        uses: Given (see ``SparsityReport.uses``), ``share`` is one of multiply-adds, and what is
            left of them is the most that is not above the rest.
        exactly: To the weight, also where thresholds cannot tell weights apart (see
            ``Selection.part_equals``). Takes longer.

    Raises:
        ValueError: The model has no such threshold, or its dense layers leave too few weights.
    """
    steps = weights_with(model, SteeredThreshold) or weights_with(model, ScheduledThreshold)
    if not steps:
        raise ValueError("the model has no thresholds to set: use steerable() or schedulable()")
    critical = [(weight, step.critical(weight.original)) for weight, step in steps]
    selection = Selection(model, critical, share, uses)
    cut = selection.cut()
    for _, step in steps:
        step.set_cut(cut)
    if cut is not None and exactly:
        selection.part_equals([step.threshold for _, step in steps])


def bound_gradients(model: nn.Module, optimizer: Optimizer) -> None:
    """Let no single step of ``optimizer`` decide how steered layers of ``model`` share the weights.

    Elements of the gradient of ``s``, about the change of the loss per e-fold of a threshold, are
    held within 1 from now on. Unbounded, one steep step is carried on by momentum until a layer
    keeps nearly all that is left; the shift that holds the sparsity then starves the others, and
    nothing brings them back. It happened in 6 of 26 runs on digits at 99.5 %.

    Models that are not steered are left alone. Gradients are looked at once a scaler has unscaled
    them.
    """
    if not weights_with(model, SteeredThreshold):
        return
    levels = threshold_parameters(model)

    def bound(*_: object) -> None:
        nn.utils.clip_grad_value_(levels, _STEEPEST)

    optimizer.register_step_pre_hook(bound)


def is_out_of_reach(model: nn.Module) -> bool:
    """Return whether ``steer`` met weights above ``scale``: no sigmoid threshold prunes those."""
    steered = weights_with(model, SteeredThreshold)
    return bool(steered) and bool(steered[0][1].offset == torch.inf)  # one for all

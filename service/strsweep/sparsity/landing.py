"""Landing: shift the learned thresholds of a finished model so that it has exactly what was asked.

Training ends near a target, not on it. All thresholds ``k * g(s)`` move to ``k * g(s + c)`` with
one ``c`` for the whole model, so that layers keep what they learned about each other. Weights that
stay keep their values if more are pruned, or if no batch norm learns the new ones. The result is an
ordinary STR model: its state has the same entries, and bakes as before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from strsweep.sparsity.convert import threshold_parameters, weights_with
from strsweep.sparsity.layers import WeightTensor
from strsweep.sparsity.measure import Example, SparsityReport, measure
from strsweep.sparsity.quantile import Cut, find_cut, part_equals, weight_uses
from strsweep.sparsity.steering import SteeredThreshold
from strsweep.sparsity.threshold import SoftThreshold

_STILL = 1e-5
"""A shift that only float32 is to blame for: a landed model gets no further one."""


@dataclass(frozen=True, kw_only=True)
class Landing:
    """What landing did to a model."""

    shift: float
    """``c``: below 0 weights came back, above 0 more were pruned."""
    before: SparsityReport
    after: SparsityReport


@torch.no_grad()
def land(
    model: nn.Module,
    *,
    sparsity: float | None = None,
    macs: float | None = None,
    example: Example | None = None,
) -> Landing:
    """Shift all thresholds of ``model``, in place, to a sparsity or a number of multiply-adds.

    Thresholds are float32 and cannot tell all weights apart. The few on the wrong side are moved
    over their threshold, by about the least step of their type; of equal weights the first go.

    Args:
        model: Trained with thresholds of ``sparsify``, of any granularity and function.
        sparsity: Wanted share of zeros among all weights, in [0, 1): met to the weight.
        macs: Wanted instead: the most to keep of the dense model's multiply-adds, in (0, 1].
        example: One input, as of ``measure``; ``macs`` needs it.

    Raises:
        ValueError: Not one of the two is wanted, or it cannot be reached.
    """
    share = _pruned_share(sparsity, macs, example)
    before = measure(model, example)
    if macs is None and before.zeros == round(share * before.weights):
        return Landing(shift=0.0, before=before, after=before)
    uses = None if macs is None or example is None else weight_uses(model, example)
    steps = _thresholds(model)
    critical = [(weight, step.critical(weight.original)) for weight, step in steps]
    cut = find_cut(model, critical, share, uses)
    lowest = min(value.min().item() for _, value in critical)
    if _keeps_at_most(before, macs) and _is_there(cut, lowest):
        return Landing(shift=0.0, before=before, after=before)
    shift = _shift(cut, lowest)
    trained = [weight.value.detach().clone() for weight, _ in steps]
    for s in threshold_parameters(model):
        s += shift
    part_equals(model, critical, [step.threshold for _, step in steps], share, uses)
    if shift > 0 or not _learns_statistics(model):
        _keep_values(steps, trained)
    return Landing(shift=shift, before=before, after=measure(model, example))


def _pruned_share(sparsity: float | None, macs: float | None, example: Example | None) -> float:
    if (sparsity is None) == (macs is None):
        raise ValueError(f"land on one of sparsity and macs; got {sparsity} and {macs}")
    if macs is not None and example is None:
        raise ValueError("macs: multiply-adds are counted for an input, give an example")
    share = sparsity if macs is None else 1 - macs
    if share is None or not 0 <= share < 1:
        raise ValueError(f"{share} is no share to prune: use a fraction in [0, 1)")
    return share


def _thresholds(model: nn.Module) -> list[tuple[WeightTensor, SoftThreshold]]:
    steps = weights_with(model, SoftThreshold)
    if not steps or any(isinstance(step, SteeredThreshold) for _, step in steps):
        raise ValueError("only thresholds of sparsify() are landed; steer() is exact by itself")
    return steps


def _shift(cut: Cut | None, lowest: float) -> float:
    if cut is None:
        return lowest - 1.0  # nothing is to be pruned
    last, following = cut.last.item(), cut.following.item()
    if last == math.inf:
        raise ValueError("weights above the scale of the thresholds would have to be pruned")
    middle = (last + following) / 2
    if math.isfinite(middle):
        return middle
    return last if math.isfinite(last) else following


def _is_there(cut: Cut | None, lowest: float) -> bool:
    """Return whether the thresholds are between what is to be pruned and what is to be kept."""
    if cut is None:
        return lowest > 0
    return cut.last.item() < _STILL and cut.following.item() > -_STILL


def _learns_statistics(model: nn.Module) -> bool:
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def _keep_values(
    steps: Sequence[tuple[WeightTensor, SoftThreshold]], trained: Sequence[Tensor]
) -> None:
    """Let what was kept, and still is, be as it was trained: only its threshold has moved.

    Pruned further, a vision transformer from 76 to 80 % has 92.2 % accuracy by this and 43.8 %
    without, digits from 1.2 times too many weights to 99 % 97.0 and 92.4 %. Where weights come
    back, a transformer has 90.4 instead of 89.7 %. Batch norm, which learns new statistics,
    prefers that all weights grow alike then: 97.5 at 98 % instead of 84.6 % (digits, from 0.6).
    """
    for (weight, step), value in zip(steps, trained, strict=True):
        entries, threshold = weight.original, step.threshold.to(value.dtype)
        above = torch.nextafter(threshold, torch.full_like(threshold, torch.inf))
        moved = value.sign() * torch.maximum(value.abs() + threshold, above)
        is_kept = (value != 0) & (entries.abs() > threshold)
        entries.copy_(torch.where(is_kept, moved, entries))


def _keeps_at_most(report: SparsityReport, macs: float | None) -> bool:
    if macs is None or report.macs is None or report.dense_macs is None:
        return False
    return report.macs < macs * report.dense_macs + 1e-3  # a share is a rounded number

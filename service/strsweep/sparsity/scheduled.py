"""One threshold for the whole network, on a schedule: the operator of ST-3 (WACV 2023).

Nothing about the threshold is learned: it is the quantile of the magnitudes of all weights at the
share to prune. Pruned weights get a gradient, too, and the values of a filter are scaled up to make
good for what it lost. One thing is ours: where ST-3 passes the gradient on as it is and clips its
norm, that of pruned weights is damped here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from strsweep.sparsity.convert import AnyModule, parametrized, prunable
from strsweep.sparsity.quantile import Cut
from strsweep.sparsity.threshold import Pruning, soft_threshold

_SCALE = 1.01
_SCALE_FLOOR = 0.01
"""The scale of a filter is at most 101."""


class ScheduledThreshold(Pruning):
    """Parametrization of a weight: soft threshold, then a scale per output filter.

    The scale is ``1.01 / (r + 0.01)``, where ``r`` is the share of the filter's magnitude that lies
    in the weights it keeps.

    Args:
        filter_axis: Axis of the output filters.
    """

    threshold: Tensor
    """Shape []: weights at or below it in magnitude are pruned."""

    def __init__(self, filter_axis: int = 0) -> None:
        super().__init__()
        self.filter_axis = filter_axis
        self.register_buffer("threshold", torch.zeros(()))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the thresholded, scaled weight; pruned entries get a gradient, too.

        Entries that are kept get all of it. Those that are pruned get as much of it as their output
        filter keeps of its magnitude. For what batch norm follows, the gradient of a filter grows
        as its values shrink; undamped, it would push the pruned entries up, the threshold with
        them, and the values of the others further down.
        """
        weight_now = weight.detach()
        magnitude = weight_now.abs()
        thresholded = soft_threshold(weight_now, self.threshold.to(weight.dtype))
        left = thresholded.abs()
        total = self._filter_sums(magnitude)
        whole = total.clamp(min=torch.finfo(weight.dtype).tiny)
        kept = self._filter_sums(magnitude.where(magnitude > self.threshold, 0))
        scale = _SCALE / (kept / whole + _SCALE_FLOOR)
        damped = torch.where(total > 0, self._filter_sums(left) / whole, 1.0)  # zeros at the start
        passed_on = torch.where(left > 0, 1.0, damped)
        return thresholded * scale + (weight - weight_now) * passed_on

    def critical(self, weight: Tensor) -> Tensor:
        """Return for every entry of ``weight`` the threshold from which on it is pruned."""
        return weight.abs()

    def set_cut(self, cut: Cut | None) -> None:
        """Prune what is critical up to the cut; None: nothing."""
        self.threshold.zero_() if cut is None else self.threshold.copy_(cut.last)

    def _filter_sums(self, values: Tensor) -> Tensor:
        others = [axis for axis in range(values.ndim) if axis != self.filter_axis]
        return values.sum(others, keepdim=True)

    def extra_repr(self) -> str:
        """Show what ``print(model)`` would otherwise hide."""
        return f"threshold={self.threshold.item():.3e}, filter_axis={self.filter_axis}"


def schedulable(model: AnyModule, *, skip: Sequence[str] = ()) -> AnyModule:
    """Put the common threshold on every convolution and linear weight of ``model``, in place.

    Nothing is pruned before the first ``steer``.

    Args:
        model: Dense.
        skip: Layer names to leave dense; shell patterns such as ``"layer1.*"``.

    Returns:
        ``model`` itself; ``bake`` makes it plain.

    Raises:
        ValueError: As ``sparsify``.
    """
    for weight in prunable(model, skip):
        parametrized(weight, ScheduledThreshold(weight.filter_axis))
    return model

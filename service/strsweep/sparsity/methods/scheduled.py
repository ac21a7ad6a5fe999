"""One threshold for the whole network, on a schedule (after ST-3, WACV 2023).

It is a baseline: with nothing learned, all layers are pruned alike by the magnitude of weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strsweep.settings import RunSettings, Share
from strsweep.sparsity.methods.method import Course, Hooks, RampedMethod
from strsweep.sparsity.methods.steered import ToTarget, try_to_reach

if TYPE_CHECKING:
    from torch import nn


class Scheduled(RampedMethod, frozen=True):
    """One threshold that rises on a schedule; nothing about it is learned."""

    mode: Literal["scheduled"] = "scheduled"
    ramp: tuple[Share, Share] = (0.05, 0.5)
    """Shares of the epochs at which the pruned share begins and ends to rise; epochs 5 to 50 of
    100 in the code of ST-3's authors."""

    about: ClassVar[str] = "scheduled: one threshold on a schedule, nothing learned; not STR"

    @property
    def takes_target(self) -> bool:
        """See ``Method``."""
        return True

    def attach(self, model: nn.Module, run: RunSettings, example: Any) -> None:
        """See ``Method``."""
        from strsweep.sparsity.scheduled import schedulable

        schedulable(model, skip=self.dense_layers(model))
        try_to_reach(model, run, example)

    def hooks(self, model: nn.Module, run: RunSettings, course: Course) -> Hooks:
        """See ``Method``."""
        return ToTarget(model, run, course, ramp=self.ramp, every=1)

"""Thresholds that are learned, and shifted together so that every step meets its target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strsweep.errors import TrainingDivergedError
from strsweep.settings import Count, RunSettings, Share
from strsweep.sparsity.methods.method import (
    Course,
    Hooks,
    RampedMethod,
    ThresholdMethod,
    weight_uses_for,
)

if TYPE_CHECKING:
    from torch import nn

_STEERINGS, _RAREST = 1000, 10
"""Unless said, thresholds are shifted so often in a run, but after ten steps at the latest."""


class Steered(ThresholdMethod, RampedMethod, frozen=True):
    """Learned thresholds that are also shifted to the target."""

    mode: Literal["steered"] = "steered"
    ramp: tuple[Share, Share] = (0.0, 0.55)
    """Shares of the epochs at which the pruned share begins and ends to rise."""
    steer_every: Count | Literal["auto"] = "auto"
    """Steps between two shifts of the thresholds; ``auto``: a thousandth of all steps of a run,
    1 to 10. In short runs more are worse: at 99.5 % on digits 10 of 330 cost a point."""

    about: ClassVar[str] = (
        "steered: learned thresholds, shifted together to the target; not plain STR"
    )

    @property
    def takes_target(self) -> bool:
        """See ``Method``."""
        return True

    def attach(self, model: nn.Module, run: RunSettings, example: Any) -> None:
        """See ``Method``."""
        from strsweep.sparsity.steering import steerable

        steerable(model, **self.options(model))
        try_to_reach(model, run, example)

    def hooks(self, model: nn.Module, run: RunSettings, course: Course) -> Hooks:
        """See ``Method``."""
        every = self.steer_every
        if every == "auto":
            every = min(max(course.steps // _STEERINGS, 1), _RAREST)
        return ToTarget(model, run, course, ramp=self.ramp, every=every)


def try_to_reach(model: nn.Module, run: RunSettings, example: Any) -> None:
    """Prune what the run is given, and give it back: an impossible target is told at once.

    Raises:
        ValueError: The layers that stay dense leave too little to prune.
    """
    from strsweep.sparsity.steering import steer

    uses = weight_uses_for(model, run, example)
    steer(model, run.pruned_share, uses)
    steer(model, 0.0, uses)


class ToTarget(Hooks):
    """Sets the thresholds of a steered or scheduled model while it trains.

    The share to prune follows ``1 - (1 - x)^3`` of the target over the ramp, as in gradual
    pruning; from its end on it stays at the target, while the weights, and steered thresholds,
    learn on. A share is one of weights, or of multiply-adds if the run is given those.

    Args:
        model: Of the run.
        run: Says the target.
        course: Of the run.
        ramp: Shares of the epochs at which the pruned share begins and ends to rise.
        every: Steps between two settings.
    """

    def __init__(
        self,
        model: nn.Module,
        run: RunSettings,
        course: Course,
        *,
        ramp: tuple[float, float],
        every: int,
    ) -> None:
        self._model, self._target, self._every = model, run.pruned_share, every
        self._uses = weight_uses_for(model, run, course.example)
        self._steps_per_epoch, self._last = course.steps_per_epoch, course.steps
        self._start, self._end = (share * self._last for share in ramp)

    def before_step(self, step: int) -> None:
        """Set the thresholds if it is time to."""
        if step % self._every == 0:
            self._prune(step)

    def after_epoch(self, epochs: int) -> None:
        """Set the thresholds to where they are evaluated; exactly on target after the last.

        Raises:
            TrainingDivergedError: Weights grew above all that a sigmoid threshold can prune.
        """
        from strsweep.sparsity.steering import is_out_of_reach

        self._prune(epochs * self._steps_per_epoch, exactly=True)
        if is_out_of_reach(self._model):
            raise TrainingDivergedError(
                f"weights grew above sparsity.scale in epoch {epochs}, which no sigmoid "
                "threshold can prune: lower training.learning_rate, or use "
                "sparsity.function=exp"
            )

    def _prune(self, step: int, *, exactly: bool = False) -> None:
        from strsweep.sparsity.steering import steer

        steer(self._model, self._wanted(step), self._uses, exactly=exactly)

    def _wanted(self, step: int) -> float:
        from strsweep.sparsity.magnitude import cubic_share

        if step >= min(self._end, self._last):
            return self._target
        return self._target * cubic_share((step - self._start) / (self._end - self._start))

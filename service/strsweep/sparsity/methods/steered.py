"""Methods that set thresholds to the target: steered, which learns them too, scheduled, ST-3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strsweep.errors import TrainingDivergedError
from strsweep.settings import Count, RunSettings, Share
from strsweep.sparsity.methods.method import Course, Hooks, RampedMethod, ThresholdMethod

if TYPE_CHECKING:
    from torch import nn

_STEERINGS, _RAREST = 1000, 10
"""Unless said, thresholds are shifted so often in a run, but after ten steps at the latest."""


class _Targeted(RampedMethod, frozen=True):
    @property
    def takes_target(self) -> bool:
        return True

    def attach(self, model: nn.Module, run: RunSettings, example: Any) -> None:
        """See ``Method``."""
        from strsweep.sparsity.steering import steer

        self.put_on(model)
        uses = _uses_for(model, run, example)
        steer(model, run.pruned_share, uses)  # an impossible target is refused at once
        steer(model, 0.0, uses)

    def hooks(self, model: nn.Module, run: RunSettings, course: Course) -> Hooks:
        """See ``Method``."""
        return _ToTarget(self, model, run, course)

    def put_on(self, model: nn.Module) -> None:
        """Put thresholds on the weights of ``model``."""
        raise NotImplementedError

    def steps_between(self, course: Course) -> int:
        """Return after how many steps thresholds are set again."""
        return 1


class Steered(ThresholdMethod, _Targeted, frozen=True):
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

    def put_on(self, model: nn.Module) -> None:
        """See ``_Targeted``."""
        from strsweep.sparsity.steering import steerable

        steerable(model, **self.options(model))

    def steps_between(self, course: Course) -> int:
        """See ``_Targeted``."""
        if self.steer_every != "auto":
            return self.steer_every
        return min(max(course.steps // _STEERINGS, 1), _RAREST)


class Scheduled(_Targeted, frozen=True):
    """One threshold that rises on a schedule; the gradient of pruned weights is damped."""

    mode: Literal["scheduled"] = "scheduled"
    ramp: tuple[Share, Share] = (0.05, 0.5)
    """Shares of the epochs at which the pruned share begins and ends to rise; epochs 5 to 50 of
    100 in the code of ST-3's authors."""

    about: ClassVar[str] = (
        "scheduled: one threshold on a schedule, damped gradients, nothing learned; not STR"
    )
    is_damped: ClassVar[bool] = True

    def put_on(self, model: nn.Module) -> None:
        """See ``_Targeted``."""
        from strsweep.sparsity.steering import schedulable

        schedulable(model, is_damped=self.is_damped, skip=self.dense_layers(model))


class St3(Scheduled, frozen=True):
    """ST-3 as published: pruned weights get all of their gradient."""

    mode: Literal["st3"] = "st3"  # pyright: ignore[reportIncompatibleVariableOverride]

    about: ClassVar[str] = "ST-3: one threshold on a schedule, straight-through gradients; not STR"
    is_damped: ClassVar[bool] = False
    needs_clipping: ClassVar[bool] = True


class _ToTarget(Hooks):
    """Sets the thresholds of a steered or scheduled model while it trains.

    From the end of the ramp on the pruned share stays at the target, while the weights, and
    steered thresholds, learn on. A share is one of weights, or of multiply-adds if the run is given
    those.
    """

    def __init__(
        self, method: _Targeted, model: nn.Module, run: RunSettings, course: Course
    ) -> None:
        self._method, self._model, self._course = method, model, course
        self._every = method.steps_between(course)
        self._target, self._uses = run.pruned_share, _uses_for(model, run, course.example)

    def before_step(self, step: int) -> None:
        if step % self._every == 0:
            self._prune(step)

    def after_epoch(self, epochs: int) -> None:
        from strsweep.sparsity.steering import is_out_of_reach

        self._prune(epochs * self._course.steps_per_epoch, exactly=True)
        if is_out_of_reach(self._model):
            raise TrainingDivergedError(
                f"weights grew above sparsity.scale in epoch {epochs}, which no sigmoid "
                "threshold can prune: lower training.learning_rate, or use "
                "sparsity.function=exp"
            )

    def _prune(self, step: int, *, exactly: bool = False) -> None:
        from strsweep.sparsity.steering import steer

        share = self._target * self._method.due(step, self._course.steps)
        steer(self._model, share, self._uses, exactly=exactly)


def _uses_for(model: nn.Module, run: RunSettings, example: Any) -> dict[str, float] | None:
    """Return how often each weight is used, if the run is given multiply-adds; else None."""
    from strsweep.sparsity.measure import measure

    return None if run.macs is None else measure(model, example).uses("macs")

"""What a sweep delivers for each target, and what to change where it missed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from strsweep.sweep.search import FinishedRun, Goal, out_of_reach


@dataclass(frozen=True, kw_only=True)
class TargetOutcome:
    """The state of one target."""

    target: float
    run: FinishedRun | None
    """The most accurate run within the tolerance; None if there is none."""
    closest: FinishedRun | None
    """The run with the least distance; None before the first run has finished."""
    advice: str
    """What to change if the target stays missed; empty if it is hit."""

    @property
    def miss(self) -> float | None:
        """Distance of the closest run, as a fraction; None before the first run has finished."""
        return None if self.closest is None else self.closest.sparsity - self.target


def outcomes(goal: Goal, finished: Sequence[FinishedRun]) -> list[TargetOutcome]:
    """Return one outcome per target, in the order the targets were given."""
    return [_outcome(target, goal, finished) for target in goal.targets]


def _outcome(target: float, goal: Goal, finished: Sequence[FinishedRun]) -> TargetOutcome:
    within = [run for run in finished if run.hits(target, goal.tolerance)]
    # Among equally accurate runs, the one nearest to what was asked.
    best = max(within, key=lambda r: (r.accuracy, -abs(r.sparsity - target)), default=None)
    closest = min(finished, key=lambda run: abs(run.sparsity - target), default=None)
    return TargetOutcome(
        target=target,
        run=best,
        closest=closest,
        advice="" if best is not None else _advice(target, closest, goal, finished),
    )


def _advice(
    target: float, closest: FinishedRun | None, goal: Goal, finished: Sequence[FinishedRun]
) -> str:
    if closest is None:
        return "no run has finished"
    if out_of_reach(target, finished):
        higher = closest.sparsity < target
        return (
            f"the ranges end at {closest.sparsity:.2%}: "
            f"{'raise the upper' if higher else 'lower the lower'} end of {goal.searched}"
        )
    needed = abs(closest.sparsity - target)
    return (
        f"raise search.max_runs above {goal.max_runs} and run the same command again, "
        f"or accept search.tolerance {_rounded_up(needed)}"
    )


def _rounded_up(value: float) -> str:
    return f"{(math.floor(value * 1e4) + 1) / 1e4:.4f}"

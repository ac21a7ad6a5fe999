"""What a sweep delivers for each target, and what to change where it missed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from strsweep.config import Target
from strsweep.sweep.search import out_of_reach
from strsweep.sweep.state import FinishedRun, Goal
from strsweep.sweep.window import Window


@dataclass(frozen=True, kw_only=True)
class TargetOutcome:
    """The state of one target."""

    target: Target
    run: FinishedRun | None
    """The most accurate run that can be landed on the target; None if there is none."""
    closest: FinishedRun | None
    """The run with the least distance; None before the first run has finished."""
    miss: float | None
    """What the closest run has pruned beyond the target, as a fraction; None without one."""
    advice: str
    """What to change if the target stays missed; empty if it is hit."""


def outcomes(goal: Goal, finished: Sequence[FinishedRun]) -> list[TargetOutcome]:
    """Return one outcome per target, in the order the targets were given."""
    return [_outcome(target, goal, finished) for target in goal.targets]


def _outcome(target: Target, goal: Goal, finished: Sequence[FinishedRun]) -> TargetOutcome:
    within = [run for run in finished if goal.hits(run, target)]
    # Among equally accurate runs, the one nearest to what was asked.
    best = max(within, key=lambda r: (r.accuracy, -abs(goal.miss(r, target))), default=None)
    closest = min(finished, key=lambda run: abs(goal.miss(run, target)), default=None)
    return TargetOutcome(
        target=target,
        run=best,
        closest=closest,
        miss=None if closest is None else goal.miss(closest, target),
        advice="" if best is not None else _advice(target, closest, goal, finished),
    )


def _advice(
    target: Target, closest: FinishedRun | None, goal: Goal, finished: Sequence[FinishedRun]
) -> str:
    if closest is None:
        return "no run has finished"
    miss = goal.miss(closest, target)
    if out_of_reach(goal, target, finished):
        reached = closest.pruned(target.quantity)
        end = "raise the upper" if miss < 0 else "lower the lower"
        return f"the ranges end at {reached:.2%}: {end} end of {goal.searched}"
    more = f"raise search.max_runs above {goal.max_runs} and run the same command again"
    wider = _rounded_up(abs(miss))
    window = Window.around(goal.pruned(target), float(wider))
    if closest.pruned(target.quantity) not in window:  # landing would have to prune too much
        return more
    return f"{more}, or accept search.tolerance {wider}"


def _rounded_up(value: float) -> str:
    return f"{(math.floor(value * 1e4) + 1) / 1e4:.4f}"

"""What a sweep delivers for each target, and what to change where it missed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from strsweep.config import Experiment, Target
from strsweep.journal import SweepRecord
from strsweep.sweep.record_view import finished_runs, goal_of, hours_of_last_job, spent_of
from strsweep.sweep.search import out_of_reach
from strsweep.sweep.spending import Limit, exhausted
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


def outcomes_of(record: SweepRecord, experiment: Experiment) -> list[TargetOutcome]:
    """Return the outcomes of a sweep whose search has ended."""
    goal, finished = goal_of(record, experiment), finished_runs(record, experiment)
    spent = spent_of(record, hours=hours_of_last_job(record))
    return outcomes(goal, finished, exhausted(goal, (), spent))


def outcomes(
    goal: Goal, finished: Sequence[FinishedRun], limit: Limit | None = None
) -> list[TargetOutcome]:
    """Return one outcome per target, in the order the targets were given.

    Args:
        goal: Of the search.
        finished: All runs whose end is known.
        limit: What ended the search before its targets were hit, if anything did.
    """
    return [_outcome(target, goal, finished, limit) for target in goal.targets]


def _outcome(
    target: Target, goal: Goal, finished: Sequence[FinishedRun], limit: Limit | None
) -> TargetOutcome:
    within = [run for run in finished if goal.hits(run, target)]
    # Among equally accurate runs, the one nearest to what was asked.
    best = max(within, key=lambda r: (r.accuracy, -abs(goal.miss(r, target))), default=None)
    closest = min(finished, key=lambda run: abs(goal.miss(run, target)), default=None)
    return TargetOutcome(
        target=target,
        run=best,
        closest=closest,
        miss=None if closest is None else goal.miss(closest, target),
        advice="" if best is not None else _advice(target, closest, goal, finished, limit),
    )


def _advice(
    target: Target,
    closest: FinishedRun | None,
    goal: Goal,
    finished: Sequence[FinishedRun],
    limit: Limit | None,
) -> str:
    if closest is None:
        return "no run has finished"
    miss = goal.miss(closest, target)
    if (last := out_of_reach(goal, target, finished)) is not None:
        end = "raise the upper" if goal.miss(last, target) < 0 else "lower the lower"
        return f"the ranges end at {last.pruned(target.quantity):.2%}: {end} end of {goal.searched}"
    wider = _rounded_up(abs(miss))
    advice: list[str] = []
    if limit is not None:
        above = f"{limit.setting} above {limit.value:.10g}"
        advice.append(f"raise {above} and run the same command again")
    window = Window.around(goal.pruned(target), float(wider))
    if closest.pruned(target.quantity) in window:  # else landing would do harm
        advice.append(f"accept search.tolerance {wider}")
    change = "less" if miss < 0 else "more"
    return ", or ".join(advice) or f"its runs scatter farther than landing may go: ask for {change}"


def _rounded_up(value: float) -> str:
    steps = math.floor(value * 1e4 + 1e-6) + 1  # more than the value, whatever its last bit
    return f"{steps / 1e4:.4f}"

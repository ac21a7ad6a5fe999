"""Which run to end early: one that cannot serve any target that is still open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from strsweep.config import Target
from strsweep.journal import number_of
from strsweep.sweep.correction import best_resumption
from strsweep.sweep.curve import Prediction, expit
from strsweep.sweep.outlook import Outlook
from strsweep.sweep.path import SearchPath
from strsweep.sweep.spending import out_of_time
from strsweep.sweep.state import (
    AT_END,
    FinishedRun,
    Goal,
    Spent,
    UnfinishedRun,
    open_targets,
)

_SURE = 2.0
"""Standard deviations between a forecast and the nearest end of a window."""
_EARLIEST = 1 / 3
"""Share of the training before which forecasts tell nothing: pruning has hardly begun."""
_MOST_STOPS = 2
"""Runs aimed at one target that may be stopped before one of them is seen to its end: forecasts
that err all the same way would otherwise stop every one."""


@dataclass(frozen=True)
class Stop:
    """End the run at its last checkpoint; it can be resumed."""

    reason: str
    ran_out_of_time: bool = False
    """The next job lets it go on, whatever it promises."""


def judge(
    goal: Goal,
    path: SearchPath | None,
    finished: Sequence[FinishedRun],
    unfinished: Sequence[UnfinishedRun],
    run: UnfinishedRun,
    *,
    spent: Spent,
) -> Stop | None:
    """Return ``Stop`` if ``run``, after an epoch with a checkpoint, is not worth going on.

    Args:
        goal: As of ``search.decide``.
        path: As of ``search.decide``.
        finished: As of ``search.decide``.
        unfinished: As of ``search.decide``; ``run`` is one of them.
        run: Under way.
        spent: As of ``search.decide``.
    """
    if (late := out_of_time(goal, spent)) is not None:
        return Stop(str(late), ran_out_of_time=True)
    if path is None:
        return None  # the run was told what to prune, and will
    targets = [run.refines] if run.refines is not None else open_targets(goal, finished)
    if not targets:
        return Stop("every target is hit")
    if run.epochs < _EARLIEST * goal.epochs or _shows_reach(finished, run):
        return None
    outlook = Outlook(goal, path, finished, unfinished)
    if (change := _led_elsewhere(run, targets, unfinished, goal, path, outlook)) is not None:
        return change
    if _stops_in_a_row(finished, unfinished, run) >= _MOST_STOPS:
        return None
    ends = {target.quantity: outlook.forecasts([run], target.quantity) for target in targets}
    if any(_may_hit(goal, target, ends[target.quantity]) for target in targets):
        return None
    end = ends[targets[0].quantity]
    low, high = _interval(end)
    return Stop(f"would end between {low:.2%} and {high:.2%}, where no target is left")


def _led_elsewhere(
    run: UnfinishedRun,
    targets: Sequence[Target],
    unfinished: Sequence[UnfinishedRun],
    goal: Goal,
    path: SearchPath,
    outlook: Outlook,
) -> Stop | None:
    """Return a stop if ``run`` is then to go on with another weight decay."""
    others = {other.target for other in unfinished if other.is_running and other != run}
    free = [target for target in targets if target not in others and run.refines is None]
    resumed = best_resumption([run], free, goal, path, outlook)
    if resumed is None or resumed.correction is None:
        return None
    return Stop(f"would miss; weight decay {resumed.correction} leads to {resumed.target}")


def _shows_reach(finished: Sequence[FinishedRun], run: UnfinishedRun) -> bool:
    """Tell whether ``run`` is the first at its end of the path: only it tells what is in reach."""
    ends = [end for end in (0.0, 1.0) if abs(run.position - end) <= AT_END]
    return any(
        not any(abs(other.position - end) <= AT_END for other in finished if other.is_on_path)
        for end in ends
    )


def _may_hit(goal: Goal, target: Target, end: Prediction) -> bool:
    window = goal.window(target)
    low, high = _interval(end)
    return low <= window.high and high >= window.low


def _interval(end: Prediction) -> tuple[float, float]:
    margin = _SURE * float(end.sd[0])
    return expit(float(end.mean[0]) - margin), expit(float(end.mean[0]) + margin)


def _stops_in_a_row(
    finished: Sequence[FinishedRun], unfinished: Sequence[UnfinishedRun], run: UnfinishedRun
) -> int:
    """Count the stopped runs for what ``run`` is for since one was last seen to its end."""
    seen = [number_of(other.run_id) for other in finished if _aim(other) == _aim(run)]
    last = max(seen, default=0)
    return sum(
        not other.is_running and _aim(other) == _aim(run) and number_of(other.run_id) > last
        for other in unfinished
    )


def _aim(run: FinishedRun | UnfinishedRun) -> tuple[Target | None, Target | None]:
    return run.target, run.refines

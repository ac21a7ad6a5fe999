"""What a sweep may still spend."""

from __future__ import annotations

from collections.abc import Sequence

from strsweep.sweep.state import Goal, Spent, UnfinishedRun


def exhausted(
    goal: Goal,
    unfinished: Sequence[UnfinishedRun],
    spent: Spent,
    resumed: UnfinishedRun | None = None,
) -> str | None:
    """Return which limit forbids another run, or that ``resumed`` goes on; None if none does.

    A run is started only if it can end: its epochs, and those that the runs under way still need,
    must fit into ``search.max_epochs``. One that goes on was counted when it was proposed.
    """
    if resumed is None and spent.runs >= goal.max_runs:
        return f"search.max_runs ({goal.max_runs}) is spent"
    promised = sum(goal.epochs - run.epochs for run in unfinished if run.is_running)
    needed = goal.epochs - (0 if resumed is None else resumed.epochs)
    if goal.max_epochs is not None and spent.epochs + promised + needed > goal.max_epochs:
        return f"search.max_epochs ({goal.max_epochs}) leaves no room for another run"
    if is_late(goal, spent):
        return f"search.max_hours ({goal.max_hours:g}) is over"
    return None


def is_late(goal: Goal, spent: Spent) -> bool:
    """Tell whether ``search.max_hours`` is over."""
    return goal.max_hours is not None and spent.hours >= goal.max_hours

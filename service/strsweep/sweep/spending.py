"""What a sweep may still spend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from strsweep.sweep.state import Goal, Spent, UnfinishedRun


@dataclass(frozen=True)
class Limit:
    """A setting that forbids another run."""

    setting: str
    value: float
    state: str

    def __str__(self) -> str:
        """Say which setting it is, its value and why that forbids another run."""
        return f"{self.setting} ({self.value:.10g}) {self.state}"


def exhausted(
    goal: Goal,
    unfinished: Sequence[UnfinishedRun],
    spent: Spent,
    resumed: UnfinishedRun | None = None,
) -> Limit | None:
    """Return which limit forbids another run, or that ``resumed`` goes on; None if none does.

    A run is started only if it can end: its epochs, and those that the runs under way still need,
    must fit into ``search.max_epochs``. One that goes on was counted when it was proposed.
    """
    if resumed is None and spent.runs >= goal.max_runs:
        return Limit("search.max_runs", goal.max_runs, "is spent")
    promised = sum(goal.epochs - run.epochs for run in unfinished if run.is_running)
    needed = goal.epochs - (0 if resumed is None else resumed.epochs)
    if goal.max_epochs is not None and spent.epochs + promised + needed > goal.max_epochs:
        return Limit("search.max_epochs", goal.max_epochs, "leaves no room for another run")
    return out_of_time(goal, spent)


def out_of_time(goal: Goal, spent: Spent) -> Limit | None:
    """Return ``search.max_hours`` if it is over."""
    if goal.max_hours is None or spent.hours < goal.max_hours:
        return None
    return Limit("search.max_hours", goal.max_hours, "is over")

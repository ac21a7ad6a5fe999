"""What a sweep is expected to do and cost, told before anything runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from strsweep.config import Experiment, Problem, RunSettings
from strsweep.search.goal import Goal, Usage
from strsweep.search.runs import SearchState
from strsweep.search.space import Space, space_of

_RUNS_PER_TARGET = {True: (1.0, 1.2), False: (1.0, 2.0)}
"""Fewest and most that are usual, of runs that lead themselves and of others: make bench-search."""
_WIDTH = 110


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is known before the first run."""

    experiment: Experiment
    problem: Problem
    first: tuple[RunSettings, ...]
    """Settings that a run for each target would have now, in their order."""
    shared: int
    """Epochs that all runs share."""
    runs: tuple[float, float]
    """Fewest and most runs that are usual, the dense network and shared epochs not counted."""
    slots: int
    seconds_per_epoch: float

    @property
    def epochs(self) -> tuple[int, int]:
        """Fewest and most epochs that are usual, over all runs."""
        search, epochs = self.experiment.search, self.experiment.training.epochs
        dense = epochs if search.baseline else self.shared
        low, high = (math.ceil(dense + runs * (epochs - self.shared)) for runs in self.runs)
        limit = search.max_epochs or high
        return min(low, limit), min(high, limit)

    @property
    def hours(self) -> tuple[float, float]:
        """Fewest and most hours that are usual; no less than one run takes."""
        busy = min(self.slots, len(self.experiment.search.targets))
        low, high = (epochs * self.seconds_per_epoch / 3600 / busy for epochs in self.epochs)
        one = self.experiment.training.epochs * self.seconds_per_epoch / 3600
        return max(low, one), max(high, one)


def plan_of(
    experiment: Experiment, problem: Problem, *, slots: int, seconds_per_epoch: float
) -> Plan:
    """Return the plan of a sweep.

    Args:
        experiment: Checked, and without ``auto``.
        problem: Its network and data.
        slots: Runs at the same time.
        seconds_per_epoch: Of one run on its workers.
    """
    search, space = experiment.search, space_of(experiment, problem)
    usual = _RUNS_PER_TARGET[search.led] if space.retries else (1.0, 1.0)
    refined = search.refine if space.retries else 0
    low, high = (min(len(search.targets) * each + refined, search.max_runs) for each in usual)
    return Plan(
        experiment=experiment,
        problem=problem,
        first=first_settings(experiment, problem, space),
        shared=space.onset,
        runs=(low, high),
        slots=slots,
        seconds_per_epoch=seconds_per_epoch,
    )


def first_settings(
    experiment: Experiment, problem: Problem, space: Space
) -> tuple[RunSettings, ...]:
    """Return the settings of the first run for every target, before anything was trained."""
    nothing = SearchState(goal=Goal.of(experiment, problem), runs=(), usage=Usage(runs=0))
    return tuple(space.settings(target, nothing) for target in experiment.search.targets)


def print_plan(plan: Plan) -> None:
    """Print the first settings and the cost."""
    console = Console(width=_WIDTH, highlight=False)
    experiment, problem, training = plan.experiment, plan.problem, plan.experiment.training
    console.print(
        f"{experiment.sweep_id}: {problem.weights:,} weights, {problem.dense_macs:,} multiply-adds "
        f"an input, {training.epochs} epochs of {problem.steps_per_epoch:,} steps\n"
        f"method: {experiment.method}",
        soft_wrap=True,
    )
    console.print(_first(plan))
    if plan.shared:
        console.print(
            f"The first {plan.shared} epochs are the same for all runs and are trained once."
        )
    (low, high), (least, most) = plan.runs, plan.epochs
    console.print(
        f"expected: {_span(low, high)} runs for {len(plan.first)} targets, "
        f"{_span(least, most)} epochs"
    )
    console.print(
        f"an epoch takes {plan.seconds_per_epoch:.3g} s: {_duration(plan.hours)}, "
        f"{plan.slots} at a time"
    )


def _first(plan: Plan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="first runs", title_justify="left")
    numbers = [settings.numbers for settings in plan.first]
    columns = [key for key in numbers[0] if key != "onset"]
    for column in ("target", *columns):
        table.add_column(column.replace("_", " "), justify="right")
    for target, values in zip(plan.experiment.search.targets, numbers, strict=True):
        table.add_row(str(target), *(f"{values[column]:.3g}" for column in columns))
    return table


def _span(low: float, high: float) -> str:
    return f"{low:,.3g}" if low == high else f"{low:,.4g} to {high:,.4g}"


def _duration(hours: tuple[float, float]) -> str:
    low, high = hours
    if high >= 1:
        return f"{_span(round(low, 1), round(high, 1))} hours"
    return f"{_span(math.ceil(low * 60), math.ceil(high * 60))} minutes"

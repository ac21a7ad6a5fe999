"""What a sweep is expected to do and cost, told before anything runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from strsweep.config import Experiment, Problem
from strsweep.search.given import Space
from strsweep.search.goal import Goal, Usage
from strsweep.search.runs import SearchState
from strsweep.search.space import space_of
from strsweep.settings import RunSettings

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
    epochs, steps = _count(training.epochs, "epoch"), _count(problem.steps_per_epoch, "step")
    console.print(
        f"{experiment.sweep_id}: {_count(problem.weights, 'weight')}, "
        f"{_count(problem.dense_macs, 'multiply-add')} an input, {epochs} of {steps}\n"
        f"data: {problem.identity.get('data', experiment.data_name)}\n"
        f"method: {experiment.method}",
        soft_wrap=True,
    )
    console.print(_first(plan))
    if plan.shared:
        same = "epoch is" if plan.shared == 1 else f"{plan.shared} epochs are"
        console.print(f"The first {same} the same for all runs and trained once.")
    console.print(
        f"expected: {_span(plan.runs, 'run')} for {_count(len(plan.first), 'target')}, "
        f"{_span(plan.epochs, 'epoch')}"
    )
    console.print(
        f"an epoch takes {float(f'{plan.seconds_per_epoch:.3g}'):,.10g} s: "
        f"{_duration(plan.hours)}, {_count(plan.slots, 'run')} at a time"
    )


def _first(plan: Plan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="first runs", title_justify="left")
    numbers = [settings.numbers for settings in plan.first]
    columns = dict.fromkeys(key for values in numbers for key in values if key != "onset")
    for column in ("target", *columns):
        table.add_column(column.replace("_", " "), justify="right")
    for target, values in zip(plan.experiment.search.targets, numbers, strict=True):
        cells = (f"{values[key]:.3g}" if key in values else "" for key in columns)
        table.add_row(str(target), *cells)
    return table


def _span(ends: tuple[float, float], noun: str) -> str:
    low, high = (round(end, 1) for end in ends)
    return _count(low, noun) if low == high else f"{low:,.10g} to {_count(high, noun)}"


def _count(number: float, noun: str) -> str:
    return f"{number:,.10g} {noun}" if number == 1 else f"{number:,.10g} {noun}s"


def _duration(hours: tuple[float, float]) -> str:
    low, high = hours
    if high >= 1:
        return _span((max(low, 0.1), high), "hour")
    return _span((math.ceil(low * 60), math.ceil(high * 60)), "minute")

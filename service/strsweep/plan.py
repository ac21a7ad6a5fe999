"""What a sweep is expected to do and cost, told before anything runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import itemgetter, methodcaller
from typing import Any

from strsweep.config import Experiment, Problem
from strsweep.errors import SettingError
from strsweep.search.goal import Goal, Usage
from strsweep.search.runs import SearchState
from strsweep.search.space import Space, space_of
from strsweep.settings import RunSettings, count
from strsweep.table import Column, Row, as_terminal, rows_of

_RUNS_PER_TARGET = {True: (1.0, 1.2), False: (1.0, 2.0)}
"""Fewest and most that are usual, of runs that lead themselves and of others: make bench-search."""


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

    @property
    def values(self) -> dict[str, Any]:
        """All of it, for programs; the ends of what is usual as lists of two."""
        targets = zip(self.experiment.search.targets, self.first, strict=True)
        return {
            "sweep_id": self.experiment.sweep_id,
            "method": self.experiment.method,
            "problem": self.problem.model_dump(mode="json"),
            "first_runs": [{"target": str(t), **settings.numbers} for t, settings in targets],
            "shared_epochs": self.shared,
            "runs": self.runs,
            "epochs": self.epochs,
            "hours": self.hours,
            "seconds_per_epoch": self.seconds_per_epoch,
            "slots": self.slots,
        }


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


def measured_plan(experiment: Experiment, minutes_per_epoch: float | None, slots: int) -> Plan:
    """Check an experiment, and return its plan.

    Args:
        experiment: As it was loaded.
        minutes_per_epoch: Of one run on its workers; None: a few steps are timed here.
        slots: Runs at the same time.

    Raises:
        SettingError: It cannot be swept, or its loop is the user's and cannot be timed.
    """
    from strsweep.preflight import check_sweep  # torch, which those who only count do without
    from strsweep.training.problem import seconds_per_epoch

    experiment, problem = check_sweep(experiment)
    if minutes_per_epoch is not None:
        seconds = 60 * minutes_per_epoch
    elif experiment.training.loop is not None:
        remedy = "The loop is yours and is not run here: say how long an epoch takes."
        raise SettingError("--minutes-per-epoch", None, remedy)
    else:
        first = first_settings(experiment, problem, space_of(experiment, problem))
        seconds = seconds_per_epoch(experiment, first[0])
    return plan_of(experiment, problem, slots=slots, seconds_per_epoch=seconds)


def print_plan(plan: Plan) -> None:
    """Print the first settings and the cost."""
    experiment, problem, training = plan.experiment, plan.problem, plan.experiment.training
    epochs, steps = count(training.epochs, "epoch"), count(problem.steps_per_epoch, "step")
    metric, passing = problem.metric, f"{problem.shapes}; " if problem.shapes else ""
    better = "higher" if metric.higher_is_better else "lower"
    print(
        f"{experiment.sweep_id}: {count(problem.weights, 'weight')}, "
        f"{count(problem.dense_macs, 'multiply-add')} an input, {epochs} of {steps}\n"
        f"data: {problem.identity.get('data', experiment.data_name)}\n"
        f"{passing}score: {metric.name}, {better} is better\n"
        f"method: {experiment.method}\n\n{as_terminal(_first(plan), 'first runs')}"
    )
    if plan.shared:
        same = "epoch is" if plan.shared == 1 else f"{plan.shared} epochs are"
        print(f"The first {same} the same for all runs and trained once.")
    print(
        f"expected: {_span(plan.runs, 'run')} for {count(len(plan.first), 'target')}, "
        f"{_span(plan.epochs, 'epoch')}\n"
        f"an epoch takes {float(f'{plan.seconds_per_epoch:.3g}'):,.10g} s: "
        f"{_duration(plan.hours)}, {count(plan.slots, 'run')} at a time"
    )


def _first(plan: Plan) -> list[Row]:
    items: list[dict[str, Any]] = plan.values["first_runs"]
    keys = dict.fromkeys(key for item in items for key in item if key not in {"target", "onset"})
    columns: list[Column[dict[str, Any]]] = [Column("", itemgetter("target"), "target")]
    for key in keys:
        heading = key.replace("_", " ")
        columns.append(Column("", methodcaller("get", key), heading, "{:.3g}".format))
    return rows_of(columns, items)


def _span(ends: tuple[float, float], noun: str) -> str:
    low, high = (round(end, 1) for end in ends)
    return count(low, noun) if low == high else f"{low:,.10g} to {count(high, noun)}"


def _duration(hours: tuple[float, float]) -> str:
    low, high = hours
    if high >= 1:
        return _span((max(low, 0.1), high), "hour")
    return _span((math.ceil(low * 60), math.ceil(high * 60)), "minute")

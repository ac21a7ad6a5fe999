"""What a sweep is expected to do and cost, told before anything runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from strsweep.config import Experiment, Problem
from strsweep.sweep.auto import FirstGuess, first_guess
from strsweep.sweep.clock import DecayClock

RUNS_PER_TARGET = (1.0, 2.5)
"""Full runs per target: no search takes less than one, and eight of digits took 1.3 to 2.6."""
_WIDTH = 110


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is known before the first run."""

    experiment: Experiment
    problem: Problem
    guesses: tuple[FirstGuess, ...]
    """Empty where nothing is searched."""
    runs: tuple[float, float]
    """Fewest and most full runs expected."""
    slots: int
    minutes_per_epoch: float | None

    @property
    def epochs(self) -> tuple[int, int]:
        """Fewest and most epochs expected, over all runs."""
        low, high = (math.ceil(runs * self.experiment.training.epochs) for runs in self.runs)
        limit = self.experiment.search.max_epochs or high
        return min(low, limit), min(high, limit)

    @property
    def hours(self) -> tuple[float, float] | None:
        """Fewest and most hours expected; None if nobody said what an epoch takes."""
        if self.minutes_per_epoch is None:
            return None
        busy = min(self.slots, len(self.experiment.search.targets))
        low, high = (epochs * self.minutes_per_epoch / 60 / busy for epochs in self.epochs)
        one_run = self.experiment.training.epochs * self.minutes_per_epoch / 60
        return max(low, one_run), max(high, one_run)


def plan_of(
    experiment: Experiment, problem: Problem, *, slots: int, minutes_per_epoch: float | None
) -> Plan:
    """Return the plan of a sweep.

    Args:
        experiment: Checked, and without ``auto``.
        problem: Its network and data.
        slots: Runs at the same time.
        minutes_per_epoch: Of one run on its workers, if it is known.
    """
    targets = experiment.search.targets
    per_target = (1.0, 1.0) if experiment.is_told else RUNS_PER_TARGET
    refined = 0 if experiment.is_told else experiment.search.refine
    most = experiment.search.max_runs
    low, high = (min(len(targets) * each + refined, most) for each in per_target)
    guesses = () if experiment.is_told else (first_guess(experiment, problem, t) for t in targets)
    return Plan(
        experiment=experiment,
        problem=problem,
        guesses=tuple(guesses),
        runs=(low, high),
        slots=slots,
        minutes_per_epoch=minutes_per_epoch,
    )


def print_plan(plan: Plan) -> None:
    """Print the first guesses with their reason, and the cost."""
    console = Console(width=_WIDTH, highlight=False)
    experiment, problem = plan.experiment, plan.problem
    console.print(
        f"{experiment.sweep_id} ({experiment.sparsity.mode}): {problem.weights:,} weights, "
        f"{problem.dense_macs:,} multiply-adds, {problem.steps_per_epoch:,} steps in each of "
        f"{experiment.training.epochs} epochs"
    )
    if plan.guesses:
        console.print(_guesses(plan))
        console.print(_reason(plan), soft_wrap=True)
    (runs_low, runs_high), (low, high) = plan.runs, plan.epochs
    console.print(f"expected: {runs_low:g} to {runs_high:g} full runs, {low:,} to {high:,} epochs")
    if plan.hours is not None:
        console.print(
            f"          {plan.hours[0]:.1f} to {plan.hours[1]:.1f} hours, {plan.slots} at a time"
        )


def _guesses(plan: Plan) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="first guesses", title_justify="left")
    for column in ("target", "threshold init", "weight decay"):
        table.add_column(column, justify="right")
    for guess in plan.guesses:
        row = (str(guess.target), f"{guess.threshold_init:g}", f"{guess.weight_decay:.3g}")
        table.add_row(*row)
    return table


def _reason(plan: Plan) -> str:
    clock = DecayClock.of(plan.experiment, plan.problem)
    return (
        f"The schedule decays a parameter by exp(-{clock.total:,.0f} * weight decay), thresholds "
        f"prune from about -{clock.bite:.1f} on, and 90 % are expected where they have "
        f"{clock.hardness:.2g} more of that decay; the first run corrects it."
    )

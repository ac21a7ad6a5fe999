"""When thresholds should begin to act: share of the epochs against accuracy: make bench-onset."""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Annotated
from unittest.mock import patch

import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.problems import TARGETS, Case
from benchmarks.recorded import TrainedRuns
from benchmarks.simulator import SimulatedSweep
from strsweep.config.addresses import results_folder
from strsweep.training import law

ONSETS = (0.0, 0.2, 1 / 3, 0.5)
DELAYS = (0.3, 0.6, 1.2)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One sweep whose runs begin to prune after a share of the epochs."""

    problem: str
    onset: float
    delay: float
    runs: float
    """Per target."""
    cost: float
    """Runs per model, the dense network included, where shared epochs are trained once."""
    accuracies: tuple[float, ...]
    """By target, landed."""


def row_of(case: tuple[Case, float, float]) -> Row:
    """Sweep one problem with one onset and one delay."""
    torch.set_num_threads(1)
    asked, onset, delay = case
    with patched(onset=onset, delay=delay):
        experiment, problem = asked.experiment()
        memo = results_folder() / "bench" / "runs.jsonl"
        sweep = SimulatedSweep(experiment, problem, TrainedRuns(experiment, problem, memo))
        sweep.search()
        epochs = experiment.training.epochs
        rest = (epochs - sweep.space.onset) / epochs
        return Row(
            problem=asked.name,
            onset=onset,
            delay=delay,
            runs=len(sweep.begun) / len(TARGETS),
            cost=(sweep.epochs / epochs + rest) / (len(TARGETS) + 1),
            accuracies=tuple(_accuracies(sweep)),
        )


def patched(**numbers: float) -> AbstractContextManager[object]:
    """Return a context in which fitted numbers have other values."""
    return patch.object(law, "FITTED", replace(law.FITTED, **numbers))


def _accuracies(sweep: SimulatedSweep) -> Iterator[float]:
    for outcome in sweep.outcomes():
        assert outcome.run is not None
        end = sweep.trained[outcome.run.run_id].landed_on(outcome.target.sparsity or 0.0)
        assert end is not None
        yield end.accuracy


def print_rows(rows: Sequence[Row]) -> None:
    """Print a line per problem, onset and delay."""
    table = Table(box=box.SIMPLE_HEAD, title="when thresholds begin to act", title_justify="left")
    for column in ("problem", "onset", "delay", "runs a target", "with forks and dense"):
        table.add_column(column, justify="right")
    for target in TARGETS:
        table.add_column(f"{target:.0%}", justify="right")
    for key in dict.fromkeys((row.problem, row.onset, row.delay) for row in rows):
        group = [row for row in rows if (row.problem, row.onset, row.delay) == key]
        table.add_row(
            key[0],
            f"{key[1]:.2f}",
            f"{key[2]:g}",
            f"{statistics.fmean(row.runs for row in group):.2f}",
            f"{statistics.fmean(row.cost for row in group):.2f}",
            *(
                f"{statistics.fmean(values) * 100:.2f}"
                for values in zip(*(row.accuracies for row in group), strict=True)
            ),
        )
    Console(width=130, highlight=False).print(table)


def main(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every case.")] = 3,
    problems: Annotated[list[str] | None, typer.Option(help="By name; repeatable.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Sweeps at a time.")] = 2,
) -> None:
    """Sweep with several onsets and delays, and print what they give."""
    cases = [
        (Case(name=problem, seed=seed), onset, delay)
        for problem in problems or ["digits", "spoken"]
        for onset in ONSETS
        for delay in DELAYS
        if delay == law.FITTED.delay or onset == law.FITTED.onset
        for seed in range(seeds)
    ]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        print_rows(list(pool.map(row_of, cases)))


if __name__ == "__main__":
    typer.run(main)

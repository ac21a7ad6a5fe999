"""Training that nothing was tuned for, with ``auto`` everywhere: make bench-setups."""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.problems import SETUPS, TARGETS, Case
from benchmarks.recorded import TrainedRuns
from benchmarks.simulator import SimulatedSweep
from strsweep.config.addresses import results_folder
from strsweep.search.runs import Run
from strsweep.search.space import LawSpace
from strsweep.training.law import logit


@dataclass(frozen=True, kw_only=True)
class Row:
    """How one sweep went. Shares are fractions."""

    setup: str
    seed: int
    cost: float
    """Runs per target."""
    hits: int
    worst: float
    """Largest distance of a delivered run from its target, before landing."""
    factor: float
    """By how much the decay of the first run was off, at least 1."""
    accuracies: tuple[float, ...]
    """By target, landed; 0 where it was missed."""


def sweep_setup(case: Case, memo: Path) -> Row:
    """Sweep one setup, with nothing but ``auto`` to start from."""
    torch.set_num_threads(1)
    experiment, problem = case.experiment()
    sweep = SimulatedSweep(experiment, problem, TrainedRuns(experiment, problem, memo))
    sweep.search()
    found = [(outcome, outcome.run) for outcome in sweep.outcomes()]
    hit = [(outcome, run) for outcome, run in found if run is not None]
    landed = [_landed(sweep, run, outcome.target.sparsity or 0.0) for outcome, run in found]
    assert isinstance(sweep.space, LawSpace)
    return Row(
        setup=case.name,
        seed=case.seed,
        cost=sum(run.epoch for run in sweep.begun) / experiment.training.epochs / len(TARGETS),
        hits=len(hit),
        worst=max(abs(outcome.miss or 0.0) for outcome, _ in hit),
        factor=_factor(sweep.space, sweep.begun[0]),
        accuracies=tuple(landed),
    )


def _landed(sweep: SimulatedSweep, run: Run | None, target: float) -> float:
    end = None if run is None else sweep.trained[run.run_id].landed_on(target)
    return 0.0 if end is None else end.accuracy


def _factor(space: LawSpace, run: Run) -> float:
    """Return how far the first guess of the decay was off, as a factor of at least 1.

    A led run corrects itself; its mean decay, and where it ended, say what was right.
    """
    guessed, used = run.settings.first_decay, run.decayed / space.clock.total
    assert run.target is not None
    assert run.target.sparsity is not None
    ends = space.law.relative_exposure(logit(run.sparsity))
    wanted = space.law.relative_exposure(logit(run.target.sparsity))
    delay = space.delay(run.settings.threshold_init or -1.0)
    right = ((used * space.clock.total - delay) * wanted / ends + delay) / space.clock.total
    return max(guessed / right, right / guessed)


def print_rows(rows: Sequence[Row]) -> None:
    """Print a line per setup."""
    table = Table(box=box.SIMPLE_HEAD, title="sweeps with auto everywhere", title_justify="left")
    for column in ("setup", "seeds", "runs a target", "hits", "farthest run", "first guess off by"):
        table.add_column(column)
    for target in TARGETS:
        table.add_column(f"{target:.0%}", justify="right")
    for setup in dict.fromkeys(row.setup for row in rows):
        group = [row for row in rows if row.setup == setup]
        costs = [row.cost for row in group]
        table.add_row(
            setup,
            str(len(group)),
            f"{statistics.median(costs):.2f} ({min(costs):.2f} to {max(costs):.2f})",
            f"{sum(row.hits for row in group)} of {len(group) * len(TARGETS)}",
            f"{max(row.worst for row in group) * 100:.2f} points",
            f"{max(row.factor for row in group):.2f}",
            *(
                f"{statistics.fmean(a) * 100:.1f}"
                for a in zip(*(r.accuracies for r in group), strict=True)
            ),
        )
    Console(width=150, highlight=False).print(table)


def main(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every setup.")] = 3,
    processes: Annotated[int, typer.Option(min=1, help="Sweeps at a time.")] = 2,
) -> None:
    """Sweep every setup to five sparsities, and print what it took."""
    memo, rows = results_folder() / "bench" / "runs.jsonl", list[Row]()
    cases = [Case(name=setup, seed=seed) for seed in range(seeds) for setup in SETUPS]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for row in pool.map(partial(sweep_setup, memo=memo), cases):
            rows.append(row)
            print(f"{row.setup}, seed {row.seed}: {row.cost:.2f} runs a target", flush=True)
    print_rows(rows)


if __name__ == "__main__":
    typer.run(main)

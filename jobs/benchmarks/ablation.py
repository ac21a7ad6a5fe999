"""What each fitted number is worth, on recorded runs: make bench-ablation.

A sweep is simulated on recorded runs with all numbers as they are, then without each of them.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.onset import patched
from benchmarks.problems import TARGETS, Case
from benchmarks.recorded import ReplayedRuns, Trained, TrainedRuns, json_lines, shared_fork
from benchmarks.simulator import SimulatedSweep
from strsweep.config.addresses import results_folder
from strsweep.search.space import LawSpace
from strsweep.settings import RunSettings
from strsweep.training import law
from strsweep.training.law import logit

RECORDED = Path(__file__).with_name("recorded.jsonl")
PROBLEMS = (
    "digits",
    "digits-deep",
    "digits-short",
    "width 10",
    "1,000 steps",
    "few noisy images",
    "adamw",
    "residual, wide",
)
_NARROW = ("search.tolerance=0.005",)
_GRID = 16
"""Recorded runs of every problem, log-spaced in their decay."""
WITHOUT: Mapping[str, float] = {
    "pruning_share": 1.0,
    "steepness_own": 1.0,
    "knee": 1e3,
    "reference": 1.0,
    "by_clock": 0.0,
    "by_weights": 0.0,
    "by_optimizer": 1.0,
    "prior": 1e-9,
    "caution": 0.0,
    "highest": 1e3,
    "largest_cut": 0.99,
    "least_kept": 0.0,
}
"""What each number is where it does nothing."""
ELSEWHERE: Mapping[str, str] = {
    "onset": "make bench-onset",
    "fewest_steps": "make bench-onset",
    "delay": "make bench-onset",
    "steepness_shared": "make bench-search (as published)",
}
"""Numbers that recorded runs say nothing of, and what does."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What sweeps of all recorded problems took."""

    runs: float
    """Per target, the mean of the problems."""
    first_miss: float
    """Root mean square distance, in logit, of the first run of every target."""


def cost_of(recorded: Mapping[str, Mapping[float, Trained]]) -> Cost:
    """Return the cost of a sweep of each problem on its recorded runs."""
    runs, misses = list[float](), list[float]()
    for name, known in recorded.items():
        experiment, problem = Case(name=name, seed=0, overrides=_NARROW).experiment()
        sweep = SimulatedSweep(experiment, problem, ReplayedRuns(experiment, problem, known))
        sweep.search()
        runs.append(len(sweep.begun) / len(TARGETS))
        first = {run.target: run for run in reversed(sweep.begun)}
        misses += [
            logit(run.sparsity) - logit(target.sparsity or 0.0)
            for target, run in first.items()
            if target is not None
        ]
    return Cost(
        runs=statistics.fmean(runs),
        first_miss=statistics.fmean(miss * miss for miss in misses) ** 0.5,
    )


def read_recorded(path: Path = RECORDED) -> dict[str, dict[float, Trained]]:
    """Return the recorded runs by problem and decay."""
    found: dict[str, dict[float, Trained]] = {}
    for line in json_lines(path):
        found.setdefault(line["problem"], {})[line["decay"]] = Trained.of(line)
    return found


def record(name: str) -> list[str]:
    """Train runs of one decay each, and return the lines of a file."""
    torch.set_num_threads(1)
    experiment, problem = Case(name=name, seed=0).experiment()
    space = LawSpace(experiment, problem)
    runs = TrainedRuns(experiment, problem, results_folder() / "bench" / "runs.jsonl")
    delay = space.delay(space.threshold_init[0])
    low, high = (
        space.clock.decay_for(space.expected * space.law.relative_exposure(logit(share)), delay)
        for share in (0.3, 0.999)
    )
    lines = list[str]()
    for decay in np.geomspace(0.5 * low, 2 * high, _GRID):
        settings = RunSettings(
            threshold_init=space.threshold_init[0],
            weight_decay=5e-4,
            threshold_decay=float(f"{decay:.6g}"),
            onset=space.onset,
            fork=shared_fork(space.onset),
        )
        line = _line(name, settings.first_decay, runs.train(settings))
        lines.append(json.dumps(line, separators=(",", ":")))
    return lines


def _line(name: str, decay: float, run: Trained) -> dict[str, object]:
    epochs = [
        asdict(replace(e, sparsity=round(e.sparsity, 6), accuracy=round(e.accuracy, 4)))
        for e in run.epochs
    ]
    return {"problem": name, "decay": decay, "epochs": epochs, "landed": []}


def print_ablation(rows: Sequence[tuple[str, Cost]]) -> None:
    """Print a line per number."""
    table = Table(box=box.SIMPLE_HEAD, title=f"of {len(fields(law.Fitted))} fitted numbers")
    for column in ("without", "value", "runs a target", "first runs off by (logit)"):
        table.add_column(column, justify="left" if column == "without" else "right")
    for name, cost in rows:
        value = f"{getattr(law.FITTED, name):.3g}" if hasattr(law.FITTED, name) else ""
        table.add_row(name, value, f"{cost.runs:.2f}", f"{cost.first_miss:.2f}")
    for name, where in ELSEWHERE.items():
        table.add_row(name, f"{getattr(law.FITTED, name):.3g}", where, "")
    Console(width=110, highlight=False).print(table)


def main(
    *,
    record_runs: Annotated[bool, typer.Option("--record", help="Train the runs anew.")] = False,
    processes: Annotated[int, typer.Option(min=1, help="Problems at a time.")] = 2,
) -> None:
    """Print the cost with all fitted numbers, and without each."""
    if record_runs:
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            lines = [line for part in pool.map(record, PROBLEMS) for line in part]
        RECORDED.write_text("\n".join(lines) + "\n")
    recorded, rows = read_recorded(), list[tuple[str, Cost]]()
    rows.append(("nothing", cost_of(recorded)))
    for name, neutral in WITHOUT.items():
        with patched(**{name: neutral}):
            rows.append((name, cost_of(recorded)))
    print_ablation(rows)


if __name__ == "__main__":
    typer.run(main)

"""How far landing is harmless, and how many images batch norm needs: make bench-landing."""

from __future__ import annotations

import multiprocessing
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated

import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.problems import Case
from benchmarks.recorded import TrainedRuns, shared_fork
from strsweep.config.addresses import results_folder
from strsweep.plan import first_settings
from strsweep.search.space import LawSpace
from strsweep.settings import RunSettings, Target
from strsweep.training.landing import land_run

TARGETS = (0.80, 0.90, 0.95, 0.98, 0.99)
KEPT = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.05, 1.11, 1.25)
"""Weights that a run ends with, in terms of those that its target wants."""
IMAGES = (32, 64, 128, 256, 512, 1024, 10_000)
_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run, landed once."""

    problem: str
    target: float
    kept: float
    """Weights that the run had, in terms of those that the target wants."""
    images: int
    """That batch norm saw after landing."""
    accuracy: float


def points_of(case: Case) -> list[Point]:
    """Train led runs to ends around every target, and land them on it."""
    torch.set_num_threads(1)
    experiment, problem = case.experiment()
    space = LawSpace(experiment, problem)
    runs = TrainedRuns(experiment, problem, results_folder() / "bench" / "runs.jsonl")
    found: list[Point] = []
    for target in TARGETS:
        for kept in KEPT:
            goal = Target(sparsity=1 - kept * (1 - target))
            search = experiment.search.model_copy(update={"targets": (goal,)})
            aimed = experiment.model_copy(update={"search": search})
            [settings] = first_settings(aimed, problem, space)
            found += _landed(runs, settings, case, target)
    return found


def _landed(runs: TrainedRuns, settings: RunSettings, case: Case, target: float) -> Iterator[Point]:
    experiment, _ = case.experiment()
    run = runs.finished(settings.model_copy(update={"fork": shared_fork(settings.onset)}))
    state, kept = run.state(), (1 - run.history[-1].sparsity) / (1 - target)
    for images in IMAGES if abs(kept - 1) < 0.1 else IMAGES[-1:]:
        wanted = Target(sparsity=target)
        after = land_run(experiment, settings, state, wanted, seen=images)
        yield Point(
            problem=case.name,
            target=target,
            kept=kept,
            images=images,
            accuracy=after.metrics["accuracy"],
        )


def print_points(points: Sequence[Point]) -> None:
    """Print accuracy over what the run had kept, and over the images that batch norm saw."""
    console = Console(width=130, highlight=False)
    edges = [0.0, 0.55, 0.65, 0.75, 0.85, 0.95, 1.02, 1.08, 1.18, 9.0]
    names = [f"{low:.2f} to {high:.2f}" for low, high in pairwise(edges)]
    whole = [point for point in points if point.images == IMAGES[-1]]
    groups: dict[tuple[str, float, str], list[float]] = defaultdict(list)
    for point in whole:
        index = next(i for i, high in enumerate(edges[1:]) if point.kept <= high)
        groups[point.problem, point.target, names[index]].append(point.accuracy)
    _print(console, "accuracy after landing, by weights kept before it / wanted", names, groups)
    near = [point for point in points if abs(point.kept - 1) < 0.1]
    seen: dict[tuple[str, float, str], list[float]] = defaultdict(list)
    for point in near:
        seen[point.problem, point.target, str(point.images)].append(point.accuracy)
    columns = [str(images) for images in IMAGES]
    _print(console, "accuracy after landing, by images that batch norm saw", columns, seen)


def _print(
    console: Console,
    title: str,
    columns: Sequence[str],
    groups: dict[tuple[str, float, str], list[float]],
) -> None:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for column in ("problem", "target", *columns):
        table.add_column(column, justify="right")
    for problem, target in dict.fromkeys(key[:2] for key in groups):
        cells = [groups.get((problem, target, column), []) for column in columns]
        shown = (f"{statistics.fmean(c) * 100:.1f} ({len(c)})" if c else "" for c in cells)
        table.add_row(problem, f"{target:.0%}", *shown)
    console.print(table)


def main(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every problem.")] = 3,
    problems: Annotated[list[str] | None, typer.Option(help="By name; repeatable.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Cases at a time.")] = 2,
) -> None:
    """Land runs from many distances, and print what that did to their accuracy."""
    cases = [
        Case(name=problem, seed=seed)
        for seed in range(seeds)
        for problem in problems or ["digits", "spoken"]
    ]
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        print_points([point for found in pool.map(points_of, cases) for point in found])


if __name__ == "__main__":
    typer.run(main)

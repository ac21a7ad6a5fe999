"""Compare ways to find five sparsities by the epochs that they take: make bench-search."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from strsweep.bench.search_cases import Case, cases_of, compare_recorded, compare_trained, record
from strsweep.bench.search_comparison import Comparison
from strsweep.bench.search_cost import Row
from strsweep.bench.search_figure import draw_costs
from strsweep.bench.search_forecast import ForecastCheck
from strsweep.bench.search_problems import PROBLEMS
from strsweep.bench.search_summary import report, summarize_costs
from strsweep.cli import exit_codes
from strsweep.config.sections import results_folder

DIGITS = Path(__file__).parent / "configs" / "digits.yaml"


def main(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of our search.")] = 9,
    peer_seeds: Annotated[int, typer.Option(min=0, help="Of these, with all peers.")] = 3,
    problems: Annotated[list[str] | None, typer.Option(help="By name; repeatable.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Seeds at a time.")] = 2,
    replay: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Recorded runs instead of training."),
    ] = None,
    record_runs: Annotated[int, typer.Option("--record", min=0, help="Only record runs.")] = 0,
) -> None:
    """Let all methods search, and print what they cost and what they give."""
    with exit_codes():
        folder = results_folder() / "bench"
        folder.mkdir(parents=True, exist_ok=True)
        cases = cases_of(
            problems or list(PROBLEMS),
            seeds,
            peer_seeds,
            config=DIGITS,
            memo=folder / "search_runs.jsonl",
        )
        if record_runs:
            print(recorded(cases, record_runs, processes, folder / "search_recorded.jsonl"))
            return
        found = compare_recorded(replay, DIGITS) if replay else trained(cases, processes)
        comparisons = [shown(comparison) for comparison in found]
        rows = [row for comparison in comparisons for row in comparison.rows]
        forecasts = [check for comparison in comparisons for check in comparison.forecasts]
        print(*report(rows, forecasts), sep="\n")
        draw_costs(folder / "search_cost.png", summarize_costs(rows))
        written(folder / "search.json", rows)
        written(folder / "search_forecasts.json", forecasts)


def trained(cases: list[Case], processes: int) -> Iterator[Comparison]:
    """Yield what every case gives, several at a time."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(compare_trained, cases)


def recorded(cases: list[Case], count: int, processes: int, path: Path) -> Path:
    """Write a file for ``--replay`` and return its path."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        lines = [line for part in pool.map(partial(record, count=count), cases) for line in part]
    path.write_text("\n".join(lines) + "\n")
    return path


def shown(comparison: Comparison) -> Comparison:
    """Tell that a case is done: all of them take about two hours."""
    row = comparison.rows[0]
    print(f"{row.problem}, seed {row.seed}: {row.cost_per_target:.2f} runs per target", flush=True)
    return comparison


def written(path: Path, values: Sequence[Row | ForecastCheck]) -> None:
    """Write dataclasses as JSON."""
    path.write_text(json.dumps([asdict(value) for value in values], indent=2) + "\n")
    print(path)


if __name__ == "__main__":
    typer.run(main)

"""What the tolerance of a search costs, in runs and in accuracy: make bench-tolerance."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from strsweep.bench.search_cases import Case, cases_of, compare_trained
from strsweep.bench.search_cost import Row
from strsweep.bench.search_problems import PROBLEMS, TOLERANCES
from strsweep.bench.search_summary import accuracy_table, cost_table, summarize_costs
from strsweep.cli import exit_codes
from strsweep.config.sections import results_folder

DIGITS = Path(__file__).parent / "configs" / "digits.yaml"


def main(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every sweep.")] = 3,
    problems: Annotated[list[str] | None, typer.Option(help="By name; repeatable.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Sweeps at a time.")] = 2,
) -> None:
    """Sweep with several tolerances; what is delivered is exact with all of them."""
    with exit_codes():
        folder = results_folder() / "bench"
        memo = folder / "search_runs.jsonl"
        cases = [
            case
            for tolerance in TOLERANCES
            for case in cases_of(
                problems or list(PROBLEMS),
                seeds,
                0,
                config=DIGITS,
                memo=memo,
                tolerance=tolerance,
            )
        ]
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            rows = [row for found in pool.map(swept, cases) for row in found]
        searched = [row for row in rows if row.method == "ours"]
        print(*cost_table(summarize_costs(searched)), "", *accuracy_table(rows), sep="\n")
        path = folder / "search_tolerance.json"
        path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
        print(path)


def swept(case: Case) -> list[Row]:
    """Sweep with one tolerance and seed; returns our row and that of plain runs."""
    place = f"{case.problem}, within {100 * case.tolerance:g}"
    rows = compare_trained(case).rows
    return [replace(row, problem=place) for row in rows if row.method in {"ours", "plain"}]


if __name__ == "__main__":
    typer.run(main)

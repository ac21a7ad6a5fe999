"""Sweep setups that nothing was tuned for, and finished sweeps with one more target."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from strsweep.bench.search_cases import cases_of
from strsweep.bench.search_growth import GrowthRow, grow
from strsweep.bench.search_problems import PROBLEMS
from strsweep.bench.search_setups import SetupRow, setup_cases, sweep_setup
from strsweep.bench.setups_table import growth_table, setups_table
from strsweep.cli import exit_codes
from strsweep.config.sections import results_folder

DIGITS = Path(__file__).parent / "configs" / "digits.yaml"


def main(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every sweep.")] = 3,
    problems: Annotated[
        list[str] | None, typer.Option(help="That get one more target; repeatable.")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="Sweeps at a time.")] = 2,
) -> None:
    """Train with auto only, then add targets to finished sweeps, and print how it went."""
    with exit_codes():
        folder = results_folder() / "bench"
        memo = folder / "search_runs.jsonl"
        cases = cases_of(problems or list(PROBLEMS), seeds, 0, config=DIGITS, memo=memo)
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            swept = pool.map(sweep_setup, setup_cases(seeds, config=DIGITS, memo=memo))
            grown = pool.map(grow, cases)
            rows, growths = list(swept), list(grown)
        console = Console(width=140, highlight=False)
        console.print(setups_table(rows), growth_table(growths))
        print(written(folder / "search_setups.json", rows))
        print(written(folder / "search_growth.json", growths))


def written(path: Path, rows: Sequence[SetupRow | GrowthRow]) -> Path:
    """Write dataclasses as JSON, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return path


if __name__ == "__main__":
    typer.run(main)

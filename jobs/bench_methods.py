"""Compare STR, steered, GMP and DNW under every kind of budget on digits: make bench-methods."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from strsweep.bench.methods import Outcome, Summary, compare_methods, summarize
from strsweep.cli import exit_codes
from strsweep.config import load_experiment
from strsweep.config.sections import results_folder

DIGITS = Path(__file__).parent / "configs" / "digits.yaml"
WEIGHT_DECAY = 5e-4
"""Of all but STR, which alone prunes by it: the usual one for networks this small."""


def main(
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds.")] = 5,
    processes: Annotated[int, typer.Option(min=1, help="Seeds at a time.")] = 2,
) -> None:
    """Train all methods at 95 and 98 % sparsity, and print mean and spread over the seeds."""
    with exit_codes():
        experiment = load_experiment(DIGITS, ["search.targets=[0.95, 0.98]"])
        compare = partial(compare_methods, experiment, weight_decay=WEIGHT_DECAY)
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            found = [outcome for part in pool.map(compare, range(seeds)) for outcome in part]
        for line in markdown(summarize(found)):
            print(line)
        print(written(found))


def markdown(summaries: list[Summary]) -> Iterator[str]:
    """Yield the lines of a table, as the README shows it."""
    yield "| sparsity | method | budget | accuracy | MACs of dense |"
    yield "|---|---|---|---|---|"
    for row in summaries:
        yield (
            f"| {row.sparsity:.1%} | {row.method.upper()} | {row.budget} "
            f"| {row.accuracy:.2%} ± {100 * row.accuracy_spread:.2f} "
            f"| {row.macs_share:.2%} ± {100 * row.macs_share_spread:.2f} |"
        )


def written(found: list[Outcome]) -> Path:
    """Write every outcome to ``results/bench/methods.json`` and return the path."""
    path = results_folder() / "bench" / "methods.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(outcome) for outcome in found], indent=2) + "\n")
    return path


if __name__ == "__main__":
    typer.run(main)

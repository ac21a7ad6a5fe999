"""Compare STR, steered, scheduled, GMP and DNW on digits at equal sparsity: make bench-methods."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from strsweep.bench.methods import Case, Outcome, compare_methods
from strsweep.bench.summary import markdown, summarize
from strsweep.cli import exit_codes
from strsweep.config import load_experiment
from strsweep.config.sections import results_folder

DIGITS = Path(__file__).parent / "configs" / "digits.yaml"
SEARCH = ("search.weight_decay=[1e-3, 1e-1]", "search.max_runs=24", "search.tolerance=0.002")
"""Wide enough for every number of epochs and every target, and near enough for the highest."""
WEIGHT_DECAY = 5e-4
"""Of all but STR, which alone prunes by it: the usual one for networks this small."""
TARGETS = (0.95, 0.98, 0.99, 0.995)
EPOCHS = (30, 120)


def main(
    *,
    seeds: Annotated[int, typer.Option(min=2, help="Number of seeds.")] = 5,
    processes: Annotated[int, typer.Option(min=1, help="Seeds at a time.")] = 2,
    epochs: Annotated[list[int] | None, typer.Option(help="Of a run; repeatable.")] = None,
    targets: Annotated[list[float] | None, typer.Option(help="Sparsity; repeatable.")] = None,
    learned_budgets: Annotated[
        bool, typer.Option("--learned-budgets", help="GMP and DNW with the budgets of STR, too.")
    ] = False,
) -> None:
    """Train all methods, and print mean and spread over the seeds, and which was best."""
    with exit_codes():
        compare = partial(compare_methods, load_experiment(DIGITS, SEARCH))
        cases = [
            Case(
                epochs=length,
                seed=seed,
                targets=tuple(sorted(targets or TARGETS)),
                weight_decay=WEIGHT_DECAY,
                with_learned_budgets=learned_budgets,
            )
            for length, seed in product(sorted(epochs or EPOCHS, reverse=True), range(seeds))
        ]
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            found = [outcome for part in pool.map(compare, cases) for outcome in part]
        for line in markdown(summarize(found)):
            print(line)
        print(written(found))


def written(found: list[Outcome]) -> Path:
    """Write every outcome to ``results/bench/methods.json`` and return the path."""
    path = results_folder() / "bench" / "methods.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(outcome) for outcome in found], indent=2) + "\n")
    return path


if __name__ == "__main__":
    typer.run(main)

"""Compare STR, steered, scheduled, GMP and DNW on digits at equal sparsity: make bench-methods."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from strsweep.bench.methods import Case, Outcome, compare_methods
from strsweep.bench.methods_found import FoundOutcomes
from strsweep.bench.summary import markdown, summarize
from strsweep.cli import exit_codes
from strsweep.config import Experiment, load_experiment
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
    epochs: Annotated[list[int] | None, typer.Option(min=1, help="Of a run; repeatable.")] = None,
    targets: Annotated[
        list[float] | None, typer.Option(min=0.01, max=0.9999, help="Sparsity; repeatable.")
    ] = None,
    learned_budgets: Annotated[
        bool, typer.Option("--learned-budgets", help="GMP and DNW with the budgets of STR, too.")
    ] = False,
) -> None:
    """Train all methods, and print mean and spread over the seeds, and which was best."""
    with exit_codes():
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
        experiment = load_experiment(DIGITS, SEARCH)
        found = FoundOutcomes(results_folder() / "bench" / "methods.jsonl", experiment)
        for case, outcomes in trained(experiment, missing(cases, found), processes):
            found.add(case, outcomes)
            print(f"{case.epochs} epochs, seed {case.seed}: done", flush=True)
        compared = [outcome for case in cases for outcome in found.of(case) or ()]
        print(*markdown(summarize(compared)), found.path, sep="\n")


def missing(cases: Sequence[Case], found: FoundOutcomes) -> list[Case]:
    """Return the cases that an earlier call did not train."""
    return [case for case in cases if found.of(case) is None]


def trained(
    experiment: Experiment, cases: Sequence[Case], processes: int
) -> Iterator[tuple[Case, list[Outcome]]]:
    """Yield every case as soon as it is trained, several at a time."""
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(compare_methods, experiment, case): case for case in cases}
        for future in as_completed(futures):
            yield futures[future], future.result()


if __name__ == "__main__":
    typer.run(main)

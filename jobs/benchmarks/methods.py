"""What the methods give at equal sparsity: make bench-methods."""

from __future__ import annotations

import json
import multiprocessing
import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.problems import SETUPS, Case
from benchmarks.recorded import TrainedRuns, code_id, json_lines
from benchmarks.simulator import SimulatedSweep
from strsweep.config.addresses import results_folder
from strsweep.search.outcome import dense_score

TARGETS = (0.90, 0.95, 0.98, 0.99, 0.995)
METHODS: dict[str, tuple[str, ...]] = {
    "STR, own decay": ("search.baseline=true",),
    "STR, own decay, no shared start": ("search.share_prefix=false",),
    "STR, shared decay": ("search.decay=shared", "search.weight_decay=auto"),
    "steered": ("sparsity.mode=steered",),
    "scheduled": ("sparsity.mode=scheduled",),
    "ST-3": ("sparsity.mode=st3", "training.clip_gradients=3.0"),
    "GMP, ERK": ("sparsity.mode=gmp", "sparsity.budget=erk"),
}
"""What each changes in a sweep; all train as many epochs, and all STR runs lead themselves."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One delivered network."""

    problem: str
    seed: int
    method: str
    target: float
    accuracy: float | None
    """As delivered; None if the target was missed."""
    macs_share: float | None
    """Of the dense network's."""
    epochs: float
    """Per target, over the sweep; the epochs that runs share counted once."""
    dense: float | None


def outcomes_of(case: tuple[Case, str], memo: Path) -> list[Outcome]:
    """Sweep one problem with one seed and one method."""
    torch.set_num_threads(1)
    asked, method = case
    own = Case(name=asked.name, seed=asked.seed, overrides=METHODS[method], targets=asked.targets)
    experiment, problem = own.experiment()
    sweep = SimulatedSweep(experiment, problem, TrainedRuns(experiment, problem, memo))
    sweep.search()
    found: list[Outcome] = []
    for outcome in sweep.outcomes():
        run, target = outcome.run, outcome.target.pruned(problem.dense_macs)
        end = None if run is None else sweep.trained[run.run_id]
        landed = None if end is None else end.landed_on(target) or end.last
        found.append(
            Outcome(
                problem=asked.name,
                seed=asked.seed,
                method=method,
                target=target,
                accuracy=None if landed is None else landed.accuracy,
                macs_share=None if landed is None else landed.macs / problem.dense_macs,
                epochs=sweep.epochs / len(asked.targets),
                dense=dense_score(sweep.state),
            )
        )
    return found


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Print accuracy and multiply-adds by method, a table per problem."""
    console = Console(width=130, highlight=False)
    for problem in dict.fromkeys(outcome.problem for outcome in outcomes):
        of_problem = [outcome for outcome in outcomes if outcome.problem == problem]
        dense = [
            100 * o.dense for o in of_problem if o.dense is not None and o.target == TARGETS[0]
        ]
        title = f"{problem}: accuracy, percent (MACs, percent of dense); dense {mean_sd(dense)}"
        table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
        for column in ("method", "seeds", *(f"{target:.1%}" for target in TARGETS), "epochs"):
            table.add_column(column)
        for method in dict.fromkeys(outcome.method for outcome in of_problem):
            table.add_row(method, *_cells([o for o in of_problem if o.method == method]))
        console.print(table)


def _cells(outcomes: Sequence[Outcome]) -> Iterator[str]:
    yield str(len({outcome.seed for outcome in outcomes}))
    for target in TARGETS:
        hit = [o for o in outcomes if o.target == target and o.accuracy is not None]
        missed = sum(o.target == target and o.accuracy is None for o in outcomes)
        accuracy = mean_sd([100 * (o.accuracy or 0.0) for o in hit])
        macs = statistics.fmean(100 * (o.macs_share or 0.0) for o in hit) if hit else 0.0
        yield f"{accuracy} ({macs:.1f})" + (f", {missed} missed" if missed else "")
    yield f"{statistics.fmean(outcome.epochs for outcome in outcomes):.0f}"


def mean_sd(values: Sequence[float]) -> str:
    """Return the mean and the standard deviation of ``values``, for a table."""
    if not values:
        return "-"
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.2f} +- {sd:.2f}"


def _can_train(method: str, problem: str) -> bool:
    # One decay for weights and thresholds is SGD's: strsweep refuses it with another optimizer.
    shared = "search.decay=shared" in METHODS[method]
    return not (shared and "training.optimizer=adamw" in SETUPS.get(problem, ()))


def main(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every method.")] = 9,
    problems: Annotated[list[str] | None, typer.Option(help="By name; repeatable.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Cases at a time.")] = 2,
) -> None:
    """Train every method to every target, and print what they give; continues where it was."""
    folder = results_folder() / "bench"
    kept, version = folder / "methods.jsonl", code_id()
    known = [line for line in json_lines(kept) if line["code"] == version]
    outcomes = [Outcome(**line["outcome"]) for line in known]
    done = {(outcome.problem, outcome.seed, outcome.method) for outcome in outcomes}
    cases = [
        (Case(name=problem, seed=seed, targets=TARGETS), method)
        for seed in range(seeds)
        for problem in problems or ["digits", "digits-short", "digits-deep"]
        for method in METHODS
        if _can_train(method, problem) and (problem, seed, method) not in done
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(partial(outcomes_of, memo=folder / "runs.jsonl"), cases):
            outcomes += found
            print(f"{found[0].problem}, seed {found[0].seed}: {found[0].method}", flush=True)
            with kept.open("a") as file:
                for outcome in found:
                    file.write(json.dumps({"code": version, "outcome": asdict(outcome)}) + "\n")
    order = list(METHODS)
    print_outcomes(sorted(outcomes, key=lambda o: (o.problem, order.index(o.method), o.seed)))


if __name__ == "__main__":
    typer.run(main)

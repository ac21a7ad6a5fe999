"""Compare ways to find five sparsities by what they train: make bench-search."""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Iterator, Sequence
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

from benchmarks.peers import PEERS, Ledger
from benchmarks.problems import TARGETS, TOLERANCE, Case
from benchmarks.recorded import Trained, TrainedRuns, shared_fork
from benchmarks.simulator import SimulatedSweep
from strsweep.config import Range
from strsweep.config.addresses import results_folder
from strsweep.search.outcome import dense_score
from strsweep.search.space import LawSpace
from strsweep.settings import RunSettings

_NARROW = f"search.tolerance={TOLERANCE}"
LED, AUTO = "led", "led, tolerance auto"
SWEEPS: dict[str, tuple[str, ...]] = {
    LED: (_NARROW, "search.baseline=true"),
    AUTO: (),
    "led, no shared start": (_NARROW, "search.share_prefix=false"),
    "led, shared decay": (_NARROW, "search.decay=shared", "search.weight_decay=auto"),
    "as published": (
        _NARROW,
        "search.led=false",
        "search.decay=shared",
        "search.weight_decay=auto",
    ),
    "steered": ("sparsity.mode=steered",),
}
"""Ways of ours, and what each changes in a sweep."""
_RANGE: Range = (3.0, 0.3)
"""Ends of the range of peers: the decays for the sparsest and the densest target, by the law, times
these."""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What the models of one sweep are. Shares are fractions."""

    hits: int
    worst_before: float
    """Largest distance of a target's run before landing; so is the next after it."""
    worst_after: float
    accuracies: tuple[float | None, ...]
    """By target, landed."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one method gave on one problem with one seed. Shares are fractions."""

    problem: str
    method: str
    seed: int
    cost: float
    """Runs per target; one that was ended early counts by its epochs, shared epochs in full."""
    forked_cost: float
    """Runs per model, the dense network included, where shared epochs are trained once."""
    quality: Quality
    dense: float | None


def compare(case: Case, methods: Sequence[str], memo: Path) -> list[Row]:
    """Let every method look for all targets."""
    torch.set_num_threads(1)
    rows = [_sweep(case, method, memo) for method in methods if method in SWEEPS]
    return rows + [_peer(case, method, memo) for method in methods if method in PEERS]


def _sweep(case: Case, method: str, memo: Path) -> Row:
    own = Case(name=case.name, seed=case.seed, overrides=SWEEPS[method], targets=case.targets)
    experiment, problem = own.experiment()
    sweep = SimulatedSweep(experiment, problem, TrainedRuns(experiment, problem, memo))
    sweep.search()
    epochs, onset = experiment.training.epochs, sweep.space.onset
    begun = sum(run.epoch for run in sweep.begun) / epochs
    found = sweep.outcomes()
    runs = [(outcome.run or outcome.closest) for outcome in found]
    ends = [sweep.trained[run.run_id] for run in runs if run is not None]
    dense = dense_score(sweep.state)
    rest = 0.0 if dense is not None else (epochs - onset) / epochs
    return Row(
        problem=case.name,
        method=method,
        seed=case.seed,
        cost=begun / len(case.targets),
        forked_cost=(sweep.epochs / epochs + rest) / (len(case.targets) + 1),
        dense=dense,
        quality=_quality(ends, case.targets, method),
    )


def _peer(case: Case, method: str, memo: Path) -> Row:
    own = Case(name=case.name, seed=case.seed, overrides=SWEEPS[LED], targets=case.targets)
    experiment, problem = own.experiment()
    runs, space = TrainedRuns(experiment, problem, memo), LawSpace(experiment, problem)
    first, onset = space.threshold_init[0], space.onset
    weights = experiment.search.weight_decay
    assert isinstance(weights, float | int)

    def train(decay: float) -> Trained:
        return runs.train(
            RunSettings(
                threshold_init=first,
                weight_decay=weights,
                threshold_decay=decay,
                onset=onset,
                fork=shared_fork(onset),
            )
        )

    ledger = Ledger(train, case.targets, TOLERANCE)
    PEERS[method](ledger, _limits(space, case.targets), case.seed)
    num, epochs = len(ledger.trained), experiment.training.epochs
    return Row(
        problem=case.name,
        method=method,
        seed=case.seed,
        cost=num / len(case.targets),
        forked_cost=(onset + (num + 1) * (epochs - onset)) / epochs / (len(case.targets) + 1),
        dense=None,
        quality=_quality([ledger.nearest(target) for target in case.targets], case.targets, method),
    )


def _limits(space: LawSpace, targets: Sequence[float]) -> Range:
    from strsweep.training.law import logit

    delay = space.delay(space.threshold_init[0])
    low, high = (
        space.clock.decay_for(space.expected * space.law.relative_exposure(logit(share)), delay)
        for share in (min(targets), max(targets))
    )
    return low * _RANGE[1], high * _RANGE[0]


def _quality(ends: Sequence[Trained], targets: Sequence[float], method: str) -> Quality:
    misses = [abs(run.last.sparsity - target) for run, target in zip(ends, targets, strict=True)]
    found = [run.landed_on(target) for run, target in zip(ends, targets, strict=True)]
    after = [
        miss if end is None else abs(end.sparsity - target)
        for end, target, miss in zip(found, targets, misses, strict=True)
    ]
    accuracies = [None if end is None else end.accuracy for end in found]
    if method == "steered":  # it ends on its target: nothing is landed
        accuracies = [run.last.accuracy for run in ends]
    is_wide = method == AUTO
    return Quality(
        hits=sum(
            (a is not None) if is_wide else miss <= TOLERANCE
            for a, miss in zip(accuracies, misses, strict=True)
        ),
        worst_before=max(misses),
        worst_after=max(after),
        accuracies=tuple(accuracies),
    )


def print_rows(rows: Sequence[Row]) -> None:
    """Print a table of costs and one of accuracies, a line per problem and method."""
    console, groups = Console(width=140, highlight=False), _groups(rows)
    costs = Table(box=box.SIMPLE_HEAD, title="runs per target: median (least to most of the seeds)")
    for column in ("problem", "method", "seeds", "runs a target", "with forks and dense", "hits"):
        costs.add_column(column)
    for column in ("worst before landing", "after"):
        costs.add_column(column, justify="right")
    for (problem, method), group in groups.items():
        costs.add_row(
            problem,
            method,
            str(len(group)),
            _spread([row.cost for row in group]),
            _spread([row.forked_cost for row in group]),
            f"{sum(row.quality.hits for row in group)} of {len(group) * len(TARGETS)}",
            f"{max(row.quality.worst_before for row in group) * 100:.2f}",
            f"{max(row.quality.worst_after for row in group) * 100:.3f}",
        )
    console.print(costs)
    console.print(_accuracy_table(groups))


def _accuracy_table(groups: dict[tuple[str, str], list[Row]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="accuracy after landing, in percent: mean +- sd")
    for column in ("problem", "method", "dense", *(f"{target:.0%}" for target in TARGETS)):
        table.add_column(column)
    for (problem, method), group in groups.items():
        dense = [row.dense for row in group]
        cells = [
            _mean([row.quality.accuracies[index] for row in group]) for index in range(len(TARGETS))
        ]
        table.add_row(problem, method, _mean(dense), *cells)
    return table


def _groups(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.problem, row.method), []).append(row)
    return groups


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _mean(values: Sequence[float | None]) -> str:
    known = [100 * value for value in values if value is not None]
    if not known:
        return ""
    sd = statistics.stdev(known) if len(known) > 1 else 0.0
    return f"{statistics.fmean(known):.2f} +- {sd:.2f}"


def cases_of(
    problems: Sequence[str], seeds: int, peer_seeds: int
) -> Iterator[tuple[Case, list[str]]]:
    """Yield every case with its methods; those that take longest first."""
    for seed in range(seeds):
        for problem in reversed(problems):
            methods = [*SWEEPS, *(PEERS if seed < peer_seeds else ())]
            yield Case(name=problem, seed=seed), methods


def main(
    *,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of our ways.")] = 9,
    peer_seeds: Annotated[int, typer.Option(min=0, help="Of these, with all peers.")] = 3,
    problems: Annotated[list[str] | None, typer.Option(help="By name; repeatable.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="Cases at a time.")] = 2,
) -> None:
    """Let all methods search, and print what they cost and what they give."""
    memo = results_folder() / "bench" / "runs.jsonl"
    cases = list(cases_of(problems or ["digits", "digits-deep"], seeds, peer_seeds))
    rows: list[Row] = []
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        for (case, _), found in zip(cases, pool.map(partial(_case, memo=memo), cases), strict=True):
            rows += found
            print(f"{case.name}, seed {case.seed}: {found[0].cost:.2f} runs a target", flush=True)
    print_rows(sorted(rows, key=lambda row: (row.problem, [*SWEEPS, *PEERS].index(row.method))))


def _case(case: tuple[Case, list[str]], memo: Path) -> list[Row]:
    return compare(*case, memo)


if __name__ == "__main__":
    typer.run(main)

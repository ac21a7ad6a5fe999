"""Learned ranks beside preset ones and unstructured sparsity, on speech: make bench-lowrank."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.methods import mean_sd
from benchmarks.recorded import TrainedRuns, json_lines
from benchmarks.simulator import SimulatedSweep
from strsweep.auto import resolve
from strsweep.config import Experiment, Problem, load_experiment
from strsweep.config.addresses import results_folder
from strsweep.settings import RunSettings, Target
from strsweep.tasks import task_of
from strsweep.training.problem import measure_problem

CONFIG = Path(__file__).parents[1] / "configs/spoken_digits_fastgrnn.yaml"
FULL, LEARNED, PRESET, SPARSE = "full rank", "low-rank STR", "preset ranks", "unstructured STR"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One network."""

    seed: int
    method: str
    target: str
    accuracy: float | None
    """As delivered; None if the target was missed."""
    macs_share: float = 1.0
    ranks: Sequence[int] = ()
    kilobytes: float = 0.0
    """Of float32 weights and biases; of unstructured sparsity the values and a bit per weight."""
    epochs: float = 0.0
    """Per target, those that runs share counted once."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The same training for all methods."""

    seed: int
    epochs: int
    memo: Path

    def problem(self, *changes: str) -> tuple[Experiment, Problem]:
        """Return the experiment with ``changes``, and what is measured of it."""
        own = f"training.seed={self.seed}", f"training.epochs={self.epochs}"
        experiment = load_experiment(CONFIG, [*own, *changes])
        problem = measure_problem(experiment, task_of(experiment))
        return resolve(experiment, problem), problem

    def sweep(self, method: str, *changes: str) -> list[Outcome]:
        """Sweep to the targets of the experiment."""
        experiment, problem = self.problem(*changes)
        sweep = SimulatedSweep(experiment, problem, TrainedRuns(experiment, problem, self.memo))
        sweep.search()
        return list(self._delivered(method, sweep, problem))

    def _delivered(self, method: str, sweep: SimulatedSweep, problem: Problem) -> Iterator[Outcome]:
        epochs = sweep.epochs / len(sweep.outcomes())
        for outcome in sweep.outcomes():
            own: dict[str, Any] = {
                "seed": self.seed,
                "method": method,
                "target": str(outcome.target),
            }
            run = outcome.run
            end = None if run is None else sweep.trained[run.run_id]
            landed = end and end.landed_on(problem.pruned(outcome.target))
            if landed is None:
                yield Outcome(**own, accuracy=None, epochs=epochs)
                continue
            kept = (1 - landed.sparsity) * problem.weights
            masked = 0 if landed.ranks else problem.weights / 8
            yield Outcome(
                **own,
                accuracy=landed.accuracy,
                macs_share=landed.macs / problem.dense_macs,
                ranks=tuple(landed.ranks.values()),
                kilobytes=(4 * kept + masked) / 1e3,
                epochs=epochs,
            )

    def trained(self, method: str, target: str, *changes: str) -> Outcome:
        """Train one network that nothing is pruned of."""
        experiment, problem = self.problem("sparsity.mode=dense", *changes)
        settings = RunSettings(weight_decay=1e-4, is_dense=True)
        last = TrainedRuns(experiment, problem, self.memo).train(settings).last
        return Outcome(
            seed=self.seed,
            method=method,
            target=target,
            accuracy=last.accuracy,
            kilobytes=4 * problem.weights / 1e3,
            epochs=self.epochs,
        )


def outcomes_of(recipe: Recipe) -> Iterator[Outcome]:
    """Train all methods with one seed; preset ranks and sparsity get what learned ranks have."""
    torch.set_num_threads(1)
    yield recipe.trained(FULL, "100 % MACs")
    learned = recipe.sweep(LEARNED)
    yield from learned
    for one in learned:
        if one.accuracy is None:
            continue
        ranks = f"model.options.ranks={list(one.ranks)}"
        # A matrix of nearly full rank is multiplied back, as for learned ranks.
        yield replace(
            recipe.trained(PRESET, one.target, ranks),
            macs_share=one.macs_share,
            ranks=one.ranks,
            kilobytes=one.kilobytes,
        )
        target = Target(macs=round(one.macs_share, 6))
        changes = f"search.targets={json.dumps([target.model_dump()])}", "sparsity.mode=str"
        (sparse,) = recipe.sweep(SPARSE, *changes)
        yield replace(sparse, target=one.target)


def print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Print a row per target and method, and how far learned ranks are above preset ones."""
    seeds = sorted({outcome.seed for outcome in outcomes})
    title = f"spoken digits, FastGRNN of 64 units, seeds {seeds}"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for column in ("target", "method", "accuracy", "MACs", "ranks w, u", "kB", "epochs", "missed"):
        table.add_column(column)
    for target, method in dict.fromkeys((o.target, o.method) for o in outcomes):
        own = [o for o in outcomes if (o.target, o.method) == (target, method)]
        hit = [o for o in own if o.accuracy is not None]
        ranks = " / ".join(" ".join(map(str, o.ranks)) for o in hit if o.ranks)
        macs, size, epochs = (
            f"{statistics.fmean(getattr(o, key) for o in hit):.3g}" if hit else "-"
            for key in ("macs_share", "kilobytes", "epochs")
        )
        accuracy = mean_sd([100 * (o.accuracy or 0) for o in hit])
        table.add_row(target, method, accuracy, macs, ranks, size, epochs, str(len(own) - len(hit)))
    console = Console(width=140, highlight=False)
    console.print(table)
    for other in (PRESET, SPARSE):
        apart = list(_differences(outcomes, other))
        if apart:
            middle, least, most = statistics.median(apart), min(apart), max(apart)
            console.print(
                f"{LEARNED} - {other}: {middle:+.2f} points, the median of {len(apart)} pairs "
                f"({least:+.2f} to {most:+.2f})"
            )
    console.print("The paper has learned ranks 0.7 to 2.5 points above preset ones (table 3).")


def _differences(outcomes: Sequence[Outcome], other: str) -> Iterator[float]:
    by = {(o.seed, o.target, o.method): o.accuracy for o in outcomes}
    for (seed, target, method), accuracy in by.items():
        against = by.get((seed, target, other))
        if method == LEARNED and accuracy is not None and against is not None:
            yield 100 * (accuracy - against)


def main(
    *,
    seeds: Annotated[int, typer.Option(help="Seeds, from 0.")] = 5,
    seed: Annotated[int | None, typer.Option(help="Only this one.")] = None,
    epochs: Annotated[int, typer.Option(help="Of every run.")] = 40,
    show: Annotated[bool, typer.Option("--show", help="Train nothing.")] = False,
) -> None:
    """Measure, keep the outcomes of every seed in a file, and print all that are there."""
    folder = results_folder() / "benchmarks"
    kept = folder / f"lowrank-{epochs}.jsonl"
    done = {line["seed"] for line in json_lines(kept)}
    wanted = [] if show else [seed] if seed is not None else list(range(seeds))
    for number in wanted:
        if number in done:
            continue
        recipe = Recipe(seed=number, epochs=epochs, memo=folder / "lowrank-runs.jsonl")
        lines = [json.dumps(asdict(outcome)) for outcome in outcomes_of(recipe)]
        with kept.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))
    print_outcomes([Outcome(**line) for line in json_lines(kept)])


if __name__ == "__main__":
    typer.run(main)

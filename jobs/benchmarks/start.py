"""How long a run waits for its first epoch: in the lanes of a sweep, and beside it in bare Ray.

PYTHONPATH=jobs python -m benchmarks.start

Both sides train the same short epochs, one run at a time, each job in a process and a Ray of its
own. The jobs take turns: what else the machine does hits both alike.
"""

from __future__ import annotations

import contextlib
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import Enum
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import typer
from ray import cloudpickle
from rich import box
from rich.console import Console
from rich.table import Table

DIGITS = Path(__file__).parents[1] / "configs" / "digits.yaml"
_TARGETS = tuple(0.5 + 0.04 * number for number in range(20))


class Side(str, Enum):
    """Who schedules the runs."""

    lanes = "lanes"
    bare = "bare"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One job: its runs, and the workers of each."""

    side: Side
    workers: int
    runs: int
    folder: str

    def overrides(self) -> list[str]:
        """Return the settings of an experiment whose runs have one epoch, and no search."""
        return [
            f"storage.path={self.folder}",
            "sparsity.mode=gmp",
            "sparsity.budget=uniform",
            "training.epochs=1",
            f"search.targets={list(_TARGETS[: self.runs])}",
            "search.max_concurrent=1",
            f"workers.count={self.workers}",
        ]


Epoch = tuple[float, float]
"""When an epoch was through, in seconds since 1970, and the seconds that it took."""


Waits = tuple[float, list[float]]
"""Seconds that the first run of a job waited, and each later one."""


def with_lanes(case: Case) -> list[Epoch]:
    """Train the runs as a job does; MLflow apart."""
    from strsweep import preflight
    from strsweep.cluster.connection import connected
    from strsweep.cluster.run import held_sweep, run_sweep
    from strsweep.config import load_experiment
    from strsweep.journal import EpochFinished, Journal
    from strsweep.storage import storage_of

    experiment, problem = preflight.check_sweep(load_experiment(DIGITS, case.overrides()))
    with connected(), held_sweep(experiment) as lanes:
        run_sweep(experiment, problem, lanes)
    events = Journal(storage_of(experiment)).read()
    rows = [event for event in events if isinstance(event, EpochFinished)]
    return sorted((row.time, row.metrics["seconds"]) for row in rows)


def bare(case: Case) -> list[Epoch]:
    """Train the runs as the documentation of Ray shows it: a trial of Tune fits a trainer."""
    import ray
    from ray import tune
    from ray.train import RunConfig, ScalingConfig, report
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    overrides, workers, folder = case.overrides(), case.workers, case.folder

    def train(config: dict[str, float]) -> None:
        report(trained_bare(overrides, config["sparsity"]))

    def trial(config: dict[str, float]) -> None:
        TorchTrainer(
            train,
            train_loop_config=config,
            scaling_config=ScalingConfig(num_workers=workers),
            run_config=RunConfig(storage_path=folder, callbacks=[TuneReportCallback()]),
        ).fit()

    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers have no benchmarks
    results = tune.Tuner(
        tune.with_resources(trial, {"memory": 1.0}),
        param_space={"sparsity": tune.grid_search(list(_TARGETS[: case.runs]))},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    ).fit()
    rows = [result.metrics or {} for result in results]
    return sorted((row["at"], row["seconds"]) for row in rows)


def trained_bare(overrides: list[str], sparsity: float) -> dict[str, float]:
    """Train one run on a worker of Ray Train; return when its epoch was through, and its length."""
    from ray.train import get_context
    from ray.train.torch import get_device

    from strsweep.config import load_experiment
    from strsweep.settings import RunSettings
    from strsweep.training.loop import InputPipeline
    from strsweep.training.run import TrainingRun

    experiment, context = load_experiment(DIGITS, overrides), get_context()
    rank, world_size = context.get_world_rank() or 0, context.get_world_size() or 1
    run = TrainingRun(
        experiment,
        RunSettings(weight_decay=1e-4, sparsity=sparsity),
        device=get_device(),
        images=InputPipeline(experiment, rank, world_size),
    )
    [metrics] = run.epochs()
    return {"at": time.time(), "seconds": metrics.seconds}


def trained(case: Case) -> list[Epoch]:
    """Run a job in this process, which did nothing before."""
    with contextlib.redirect_stdout(sys.stderr):
        return (with_lanes if case.side is Side.lanes else bare)(case)


def measured(case: Case) -> Waits:
    """Run a job in a process of its own; return what its runs waited."""
    started = time.time()
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as job:
        epochs = job.submit(trained, case).result()
    begun = [at - took for at, took in epochs]
    later = [begin - at for begin, (at, _) in zip(begun[1:], epochs, strict=False)]
    return begun[0] - started, later


def _later(jobs: Sequence[Waits]) -> list[float]:
    return [seconds for _, waits in jobs for seconds in waits]


def table(found: dict[tuple[int, Side], list[Waits]]) -> Table:
    """Return what all jobs took, by workers and side, and how many times faster lanes are."""
    shown = Table(box=box.SIMPLE_HEAD, title="seconds that a run waits")
    for column in ("workers", "", "first run", "later runs, median", "longest", "times less"):
        shown.add_column(column, justify="right")
    for workers in sorted({workers for workers, _ in found}):
        waits = {side: _later(found[workers, side]) for side in Side}
        ratio = statistics.median(waits[Side.bare]) / statistics.median(waits[Side.lanes])
        for side, later in waits.items():
            first = statistics.median(seconds for seconds, _ in found[workers, side])
            cells = (f"{first:.1f}", f"{statistics.median(later):.2f}", f"{max(later):.2f}")
            shown.add_row(str(workers), side.value, *cells, f"{ratio:.0f}" * (side is Side.lanes))
    return shown


def main(
    *,
    runs: Annotated[int, typer.Option(min=2, max=len(_TARGETS), help="Of each job.")] = 10,
    rounds: Annotated[int, typer.Option(min=1, help="Jobs of each kind.")] = 2,
) -> None:
    """Time the start of runs in lanes and in bare Ray, with one worker and with two."""
    found: dict[tuple[int, Side], list[Waits]] = {}
    for _ in range(rounds):
        for count in (1, 2):
            for each in Side:
                with tempfile.TemporaryDirectory() as place:
                    case = Case(side=each, workers=count, runs=runs, folder=place)
                    found.setdefault((count, each), []).append(measured(case))
    Console(width=120, highlight=False).print(table(found))


if __name__ == "__main__":
    typer.run(main)

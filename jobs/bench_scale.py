"""Drive a thousand runs that take no time through Tune, journal and MLflow: make bench-scale.

LOCAL_RAY_CPUS=64 infra/local_ray.sh run python jobs/bench_scale.py
"""

from __future__ import annotations

import json
import shutil
import time
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from ray import tune
from rich import box
from rich.console import Console
from rich.table import Table
from strsweep.bench.scale import (
    SweepCost,
    TimedSearcher,
    journal_bytes,
    lines,
    replayed,
    simulated_sweep,
    summarized,
)
from strsweep.bench.scale_runs import SimulatedRuns

from strsweep.cli import exit_codes
from strsweep.config import Experiment, RunSettings
from strsweep.config.sections import results_folder
from strsweep.journal import Journal, SweepStarted
from strsweep.storage import storage_of
from strsweep.sweep.cluster import connected, slots
from strsweep.sweep.run import tune_config
from strsweep.sweep.status import StatusLines

DIGITS = Path(__file__).parent / "configs" / "digits.yaml"


def main(
    *,
    trials: Annotated[int, typer.Option(min=10, help="Most runs.")] = 1000,
    targets: Annotated[int, typer.Option(min=1, help="Between 50 and 99 %.")] = 120,
    noise: Annotated[float, typer.Option(min=0, help="Of a run, in logit.")] = 0.03,
    config: Annotated[Path, typer.Option(help="The experiment that is simulated.")] = DIGITS,
) -> None:
    """Sweep without training on the cluster at hand, and print what that cost."""
    with exit_codes():
        folder = results_folder() / "bench" / "scale"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        runs = simulated_sweep(config, trials=trials, targets=targets, noise=noise, results=folder)
        with connected():
            cost = measured(runs, folder)
        table = Table(box=box.SIMPLE_HEAD, title="a sweep of runs that take no time")
        table.add_column("what")
        table.add_column("cost")
        for line in lines(cost):
            table.add_row(*line)
        Console(width=120, highlight=False).print(table)
        path = folder.parent / "scale.json"
        path.write_text(json.dumps(asdict(cost), indent=2) + "\n")
        print(path)


def measured(runs: SimulatedRuns, folder: Path) -> SweepCost:
    """Run the sweep, then read its journal and deliver it as a new job would."""
    experiment, storage = runs.experiment, storage_of(runs.experiment)
    journal, at_once = Journal(storage), slots(runs.experiment)
    dumped = experiment.model_dump(mode="json")
    journal.append(SweepStarted(experiment=dumped, version="simulated", problem=runs.problem))
    searcher = TimedSearcher(experiment, journal, lambda: at_once)
    wall, controller = time.perf_counter(), time.process_time()
    with (folder / "status.log").open("w") as log, redirect_stdout(log):
        status = StatusLines(experiment, journal, at_once)
        tuner(runs, searcher, status, folder).fit()
    wall, controller = time.perf_counter() - wall, time.process_time() - controller
    record, num_events, seconds = replayed(storage)
    first, again = delivered(experiment)
    memory = [mib for _, mib in searcher.memory]
    return SweepCost(
        slots=at_once,
        runs=len(record.runs),
        finished=len(record.finished_runs),
        stopped=sum(run.stopped is not None for run in record.runs.values()),
        targets=len(experiment.search.targets),
        targets_hit=searcher.targets_hit(),
        ended=searcher.stopped or "it was cut off",
        wall=wall,
        controller=controller,
        journal_bytes=journal_bytes(storage),
        journal_events=num_events,
        journal_replay=seconds,
        mlflow=first,
        mlflow_again=again,
        decisions=tuple(
            summarized(watch, len(record.runs)) for watch in (searcher.proposals, searcher.verdicts)
        ),
        memory_mib=(memory[len(memory) // 10], memory[len(memory) // 2], memory[-1]),
    )


def tuner(
    runs: SimulatedRuns, searcher: TimedSearcher, status: StatusLines, folder: Path
) -> tune.Tuner:
    """Return Tune as a sweep uses it, with a trial that trains nothing."""
    trainable: Any = tune.with_parameters(trial, dumped=runs.model_dump_json())
    return tune.Tuner(
        tune.with_resources(trainable, {"memory": 1.0}),
        # The start of a driver process is not measured; runs that end at once can share drivers.
        tune_config=replace(tune_config(searcher), reuse_actors=True),
        run_config=tune.RunConfig(
            name="tune", storage_path=str(folder), callbacks=[status], verbose=0
        ),
    )


def trial(config: dict[str, Any], *, dumped: str) -> None:
    """Let one run go its way in no time."""
    settings = RunSettings.model_validate({key: config[key] for key in RunSettings.model_fields})
    SimulatedRuns.model_validate_json(dumped).train(config["run_id"], settings, tune.report)


def delivered(experiment: Experiment) -> tuple[float, float]:
    """Deliver the journal to MLflow, and once more; returns the seconds of both."""
    from strsweep.registry import Tracking

    tracking, seconds = Tracking(experiment), list[float]()
    for _ in range(2):
        started = time.perf_counter()
        tracking.deliver()
        seconds.append(time.perf_counter() - started)
    return seconds[0], seconds[1]


if __name__ == "__main__":
    typer.run(main)

"""A sweep of a thousand led runs that take no time, through Ray Tune, journal and MLflow.

infra/local_ray.sh run env PYTHONPATH=jobs python -m benchmarks.scale
"""

from __future__ import annotations

import math
import os
import shutil
import statistics
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from ray import tune
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.planted import PlantedRuns
from benchmarks.recorded import Epoch
from strsweep.auto import resolve
from strsweep.cli import exit_codes
from strsweep.cluster.connection import connected, wait_for_slots
from strsweep.cluster.run import tune_config
from strsweep.cluster.searcher import EarlyStop, TargetSearcher
from strsweep.cluster.status import StatusLines
from strsweep.cluster.trial import work_of
from strsweep.config import Experiment, Problem, load_experiment
from strsweep.config.addresses import results_folder
from strsweep.journal import (
    EpochFinished,
    Event,
    Journal,
    LayerRow,
    PrefixTrained,
    RunFinished,
    SweepStarted,
    replay,
)
from strsweep.search.space import LawSpace
from strsweep.settings import RunSettings
from strsweep.storage import storage_of
from strsweep.tasks import task_of
from strsweep.training.law import Law
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun
from strsweep.training.writer import layer_rows

DIGITS = Path(__file__).parents[1] / "configs" / "digits.yaml"
_HARDER, _LATE = 1.3, 0.05
"""What a search has to find: the true ``exposure_at_90``, and by how much thresholds are late, both
in terms of the expected one."""


@dataclass(frozen=True, kw_only=True)
class SimulatedRuns:
    """How the runs of a sweep go: as the law says."""

    experiment: Experiment
    problem: Problem
    layers: tuple[LayerRow, ...]
    """Of the dense network."""
    noise: float
    """Standard deviation of what is harder for one run, and of each of its epochs, in logit."""

    def epochs(self, run_id: str, settings: RunSettings) -> Iterator[Event]:
        """Yield what the first worker of a run writes."""
        metrics, layers = dict[str, float](), self.layers
        last = settings.last_epoch or self.experiment.training.epochs
        begun = 0 if settings.fork is None else settings.fork.epoch
        course = enumerate(self._course(run_id, settings), start=1)
        for epoch, row in islice(course, begun, last):
            metrics = self._metrics(epoch, row)
            metrics |= {"weight_decay": settings.weight_decay}
            layers = tuple(_pruned(layer, row.sparsity) for layer in self.layers)
            thresholds = tuple(layer.threshold for layer in layers)
            yield EpochFinished(run_id=run_id, metrics=metrics, thresholds=thresholds)
            if epoch == settings.shared_epoch:
                yield PrefixTrained(run_id=run_id, epoch=epoch, checkpoint=f"runs/{run_id}/{epoch}")
        folder = f"runs/{run_id}/{last}"
        yield RunFinished(run_id=run_id, metrics=metrics, layers=layers, checkpoint=folder)

    def train(self, run_id: str, settings: RunSettings) -> Iterator[dict[str, float]]:
        """Write what a worker would write, and yield the epochs that have a checkpoint."""
        journal, training = Journal(storage_of(self.experiment), run_id), self.experiment.training
        stored = {settings.shared_epoch, settings.last_epoch, training.epochs}
        for event in self.epochs(run_id, settings):
            journal.append(event)
            if isinstance(event, EpochFinished):
                epoch = int(event.metrics["epoch"])
                if epoch in stored or epoch % training.checkpoint_every == 0:
                    yield event.metrics

    def _course(self, run_id: str, settings: RunSettings) -> tuple[Epoch, ...]:
        """Return how a run goes; no two are quite alike."""
        seed = zlib.crc32(run_id.encode())
        runs = PlantedRuns(
            experiment=self.experiment,
            problem=self.problem,
            hardness=_HARDER * math.exp(np.random.default_rng(seed).normal(0, self.noise)),
            steepness=Law.of(self.experiment).steepness,
            late=_LATE,
            jitter=self.noise,
            seed=seed,
            macs_behind=0.0,
        )
        return runs.train(settings).epochs

    def _metrics(self, epoch: int, row: Epoch) -> dict[str, float]:
        loss = 0.5 + (1 - row.sparsity) / epoch
        return asdict(row) | {
            "epoch": epoch,
            "dense_macs": self.problem.dense_macs,
            "train_loss": loss,
            "val_loss": loss + 0.1,
            "learning_rate": self.experiment.training.learning_rate,
            "seconds": 0.0,
            "unreadable_images": 0,
        }


def _pruned(layer: LayerRow, share: float) -> LayerRow:
    zeros = round(share * layer.weights)
    left = 1 - zeros / layer.weights
    changed = {"zeros": zeros, "sparsity": 1 - left, "macs": round(left * layer.dense_macs)}
    return layer.model_copy(update=changed | {"threshold": 0.01 * share})


def simulated_runs(
    config: Path, *, trials: int, targets: int, noise: float, results: Path
) -> SimulatedRuns:
    """Return a sweep of up to ``trials`` runs: for every target, then for a better score.

    Args:
        config: An experiment whose data are there: network and layers are measured.
        trials: ``search.max_runs``.
        targets: So many; their windows do not meet, so that no run hits two of them.
        noise: See the field.
        results: Folder for journal and MLflow.
    """
    wanted = [round(float(share), 4) for share in np.linspace(0.5, 0.99, targets)]
    tolerance = 0.45 * (0.99 - 0.5) / max(targets - 1, 10)
    overrides = [
        # One at a time: beside runs of no time Tune would start drivers that it never needs.
        f"search={{targets: {wanted}, tolerance: {tolerance:.3g}, weight_decay: 5e-4, "
        f"max_runs: {trials}, refine: {trials}, max_concurrent: 1}}",
        "training.checkpoint_every=10",
        f"storage.path={results}",
        f"tracking.uri=sqlite:///{results}/mlflow.db",
    ]
    asked = load_experiment(config, ["name=scale", *overrides])
    problem = measure_problem(asked, task_of(asked))
    experiment = resolve(asked, problem)
    dense = LawSpace(experiment, problem).dense(is_whole=True)
    layers = layer_rows(TrainingRun(experiment, dense, device=torch.device("cpu")).report())
    return SimulatedRuns(experiment=experiment, problem=problem, layers=layers, noise=noise)


class Stopwatch:
    """Milliseconds of CPU that decisions took: other work on the machine does not lengthen them."""

    def __init__(self) -> None:
        self.took: list[tuple[int, float]] = []
        """Runs that were known, and milliseconds."""

    def measured(self, known: int, decide: Callable[[], Any]) -> Any:
        """Return what ``decide`` returns."""
        started = time.thread_time()
        decision = decide()
        self.took.append((known, 1000 * (time.thread_time() - started)))
        return decision

    def median(self, first: int, last: int) -> float:
        """Return the median of the decisions with ``first`` to ``last`` known runs."""
        found = [ms for known, ms in self.took if first <= known <= last]
        return statistics.median(found) if found else math.nan

    def __str__(self) -> str:
        runs, longest = (max(values) for values in zip(*self.took, strict=True))
        early, late = self.median(0, runs // 10), self.median(runs - runs // 10, runs)
        return (
            f"{early:.1f} ms of CPU in the first tenth of runs, {late:.1f} ms with {runs:,} runs, "
            f"at most {longest:.0f} ms ({len(self.took):,} times)"
        )


class SimulatedTrial(tune.Trainable):
    """Follows one simulated run after the other, as a trial follows those of the lanes."""

    def setup(self, config: dict[str, Any], runs: SimulatedRuns | None = None) -> None:
        """Begin with the first run."""
        self._runs = runs
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin with the next run."""
        assert self._runs is not None
        work = work_of(new_config)
        self._epochs = self._runs.train(work.run_id, work.settings)
        self._last: dict[str, float] = {}
        return True

    def step(self) -> dict[str, Any]:
        """Return the next epoch, or the last one with the end."""
        told = next(self._epochs, None)
        self._last = told or self._last
        return {**self._last, "done": told is None}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing is simulated of checkpoints."""


class TimedSearcher(TargetSearcher):
    """The searcher of a sweep with a stopwatch on its decisions."""

    def __init__(self, experiment: Experiment, journal: Journal, slots: Callable[[], int]) -> None:
        super().__init__(experiment, journal, slots)
        self.proposals, self.verdicts = Stopwatch(), Stopwatch()
        self.memory: list[float] = []
        """MiB of this process when each run was begun."""

    def suggest(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """Take the time of a proposal."""
        if not self.has_slot():
            return None
        suggested = self.proposals.measured(len(self.memory), partial(super().suggest, trial_id))
        if isinstance(suggested, dict):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        return suggested

    def stops(self, run_id: str, epoch: int) -> bool:
        """Take the time of a verdict."""
        return self.verdicts.measured(len(self.memory), partial(super().stops, run_id, epoch))


def sweep(runs: SimulatedRuns, folder: Path) -> Iterator[tuple[str, str]]:
    """Run the sweep on the cluster at hand; yield what that cost, as a person reads it."""
    experiment, storage = runs.experiment, storage_of(runs.experiment)
    journal, slots = Journal(storage), wait_for_slots(experiment)
    dumped = experiment.model_dump(mode="json")
    journal.append(SweepStarted(experiment=dumped, version="simulated", problem=runs.problem))
    searcher = TimedSearcher(experiment, journal, lambda: slots)
    trial: Any = tune.with_parameters(SimulatedTrial, runs=runs)
    wall, driver = time.perf_counter(), time.process_time()
    with (folder / "status.log").open("w") as log, redirect_stdout(log):
        status = StatusLines(searcher, slots)
        tune.Tuner(
            tune.with_resources(trial, {"memory": 1.0}),
            tune_config=tune_config(EarlyStop(searcher)),
            run_config=tune.RunConfig(
                name="tune", storage_path=str(folder), callbacks=[status], verbose=0
            ),
        ).fit()
    wall, driver = time.perf_counter() - wall, time.process_time() - driver
    state, memory = searcher.state(), searcher.memory
    count, targets = len(state.runs), len(state.goal.targets)
    fifths = (memory[(len(memory) - 1) * fifth // 5] for fifth in range(6))
    aimed = sum(run.target is not None for run in state.runs)
    yield "runs", f"{count:,}; {searcher.stopped}"
    yield "targets hit", f"{targets - len(state.open_targets)} of {targets} by {aimed} runs"
    yield "sweep", f"{wall / 60:.1f} minutes"
    yield "driving process", f"{1000 * driver / count:.0f} ms of CPU a run"
    yield "its memory", " -> ".join(f"{mib:.0f}" for mib in fifths) + " MiB, by fifths of the runs"
    yield "which run next", str(searcher.proposals)
    yield "stop or go on", str(searcher.verdicts)
    yield from _afterwards(experiment, count)


def _afterwards(experiment: Experiment, runs: int) -> Iterator[tuple[str, str]]:
    """Read the journal and deliver it, as a new job would."""
    from strsweep.registry import Tracking

    storage, started = storage_of(experiment), time.perf_counter()
    events = Journal(storage).read()
    replay(events)
    kib = sum(storage.sizes("journal").values()) / 1024
    yield "journal", f"{kib / runs:.1f} KiB a run, {kib / 1024:.1f} MiB, {len(events):,} events"
    yield "its replay", f"{time.perf_counter() - started:.2f} s"
    tracking = Tracking(experiment)
    for name in ("to MLflow (sqlite)", "the same again"):
        started = time.perf_counter()
        tracking.deliver()
        seconds = time.perf_counter() - started
        yield name, f"{1000 * seconds / runs:.1f} ms a run, {seconds:.2f} s"


def main(
    *,
    trials: Annotated[int, typer.Option(min=10, help="Most runs.")] = 1000,
    targets: Annotated[int, typer.Option(min=1, help="Between 50 and 99 %.")] = 150,
    noise: Annotated[float, typer.Option(min=0, help="Of a run, in logit.")] = 0.003,
    config: Annotated[Path, typer.Option(help="The experiment that is simulated.")] = DIGITS,
) -> None:
    """Sweep without training on the cluster at hand, and print what that cost."""
    with exit_codes():
        folder = results_folder() / "bench" / "scale"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        runs = simulated_runs(config, trials=trials, targets=targets, noise=noise, results=folder)
        table = Table("what", "cost", box=box.SIMPLE_HEAD, title="runs that take no time")
        with connected():
            for line in sweep(runs, folder):
                table.add_row(*line)
        Console(width=120, highlight=False).print(table)


if __name__ == "__main__":
    typer.run(main)

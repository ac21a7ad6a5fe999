"""What a sweep of very many runs asks of the job that drives it."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from strsweep.bench.scale_runs import SimulatedRuns
from strsweep.config import Experiment, RunSettings, load_experiment
from strsweep.data import load_images
from strsweep.journal import Journal, SweepRecord, replay
from strsweep.storage import Store
from strsweep.sweep.auto import resolve
from strsweep.sweep.searcher import TargetSearcher
from strsweep.sweep.state import open_targets
from strsweep.training.layer_rows import layer_rows
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun

_MIB = 2**20


def simulated_sweep(
    config: Path, *, trials: int, targets: int, noise: float, results: Path
) -> SimulatedRuns:
    """Return a sweep that needs about ``trials`` runs: narrow windows, and runs that scatter.

    Args:
        config: An experiment whose data are there: network and layers are measured, not trained.
        trials: ``search.max_runs``.
        targets: Evenly between 50 and 99 %.
        noise: Standard deviation of a run, as a level.
        results: Folder for journal and MLflow.
    """
    wanted = [round(float(share), 4) for share in np.linspace(0.5, 0.99, targets)]
    asked = load_experiment(
        config,
        [
            "name=scale",
            f"search.targets={wanted}",
            "search.tolerance=0.0005",
            "search.threshold_init=auto",
            "search.weight_decay=auto",
            f"search.max_runs={trials}",
            "training.checkpoint_every=10",
            f"storage.path={results}",
            f"tracking.uri=sqlite:///{results}/mlflow.db",
        ],
    )
    problem = measure_problem(asked, load_images(asked.data))
    experiment = resolve(asked, problem)
    run = TrainingRun(experiment, _any_settings(experiment), device=torch.device("cpu"))
    return SimulatedRuns(
        experiment=experiment, problem=problem, layers=layer_rows(run.report()), noise=noise
    )


def _any_settings(experiment: Experiment) -> RunSettings:
    first, decays = experiment.search.threshold_init, experiment.search.weight_decay
    assert isinstance(first, float | int)
    assert isinstance(decays, tuple)
    return RunSettings(threshold_init=first, weight_decay=decays[0])


@dataclass
class Stopwatch:
    """CPU seconds that calls took, which other work on the machine does not lengthen."""

    name: str
    runs: list[int] = field(default_factory=list[int])
    """That there were at every call."""
    seconds: list[float] = field(default_factory=list[float])

    @contextmanager
    def measured(self, runs: int) -> Generator[None]:
        """Measure what happens inside."""
        started = time.thread_time()
        try:
            yield
        finally:
            self.runs.append(runs)
            self.seconds.append(time.thread_time() - started)

    def median_ms(self, first: int, last: int) -> float:
        """Return the median of the calls that were made with ``first`` to ``last`` runs."""
        found = [s for r, s in zip(self.runs, self.seconds, strict=True) if first <= r <= last]
        return 1000 * statistics.median(found) if found else float("nan")


class TimedSearcher(TargetSearcher):
    """The searcher of a sweep with a stopwatch on its decisions."""

    def __init__(self, experiment: Experiment, journal: Journal, places: Callable[[], int]) -> None:
        super().__init__(experiment, journal, places)
        self.proposals, self.verdicts = Stopwatch("where to go"), Stopwatch("stop or go on")
        self.memory: list[tuple[int, float]] = []
        """Runs that were started, and MiB of this process then."""
        self._num_runs = 0

    def suggest(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """Take the time of a proposal."""
        if not self.has_place():
            return None
        with self.proposals.measured(self._num_runs):
            suggested = super().suggest(trial_id)
        if isinstance(suggested, dict):
            self._num_runs += 1
            self.memory.append((self._num_runs, resident_mib()))
        return suggested

    def targets_hit(self) -> int:
        """Return how many targets have a run that can be landed on them."""
        finished, _ = self._runs(self._record())
        return len(self._goal.targets) - len(open_targets(self._goal, finished))

    def stops(self, run_id: str, epoch: int) -> bool:
        """Take the time of a verdict."""
        with self.verdicts.measured(self._num_runs):
            return super().stops(run_id, epoch)


@dataclass(frozen=True, kw_only=True)
class SweepCost:
    """What one sweep of simulated runs took. Times are in seconds."""

    slots: int
    runs: int
    finished: int
    stopped: int
    targets: int
    targets_hit: int
    ended: str
    """Why."""
    wall: float
    controller: float
    """CPU of the process that drives the sweep."""
    journal_bytes: int
    journal_events: int
    journal_replay: float
    """Read and replayed by a new process, as a job does that starts again."""
    mlflow: float
    """To deliver the whole journal into an empty database."""
    mlflow_again: float
    """To find that nothing is new."""
    decisions: tuple[Decisions, ...]
    memory_mib: tuple[float, float, float]
    """Of the driving process at a tenth, at half and at the end of the runs."""


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """One kind of decision. CPU in milliseconds, the median of the first and last tenth of runs."""

    name: str
    count: int
    early_ms: float
    late_ms: float
    longest_ms: float


def summarized(stopwatch: Stopwatch, runs: int) -> Decisions:
    """Return what the decisions of one kind took."""
    return Decisions(
        name=stopwatch.name,
        count=len(stopwatch.seconds),
        early_ms=stopwatch.median_ms(0, runs // 10),
        late_ms=stopwatch.median_ms(runs - runs // 10, runs),
        longest_ms=1000 * max(stopwatch.seconds, default=0.0),
    )


def replayed(storage: Store) -> tuple[SweepRecord, int, float]:
    """Read a journal anew; returns the record, its events and the seconds that took."""
    started = time.perf_counter()
    events = Journal(storage).read()
    record = replay(events)
    return record, len(events), time.perf_counter() - started


def journal_bytes(storage: Store) -> int:
    """Return the size of all files of a journal."""
    return sum(storage.sizes("journal").values())


def lines(cost: SweepCost) -> Iterator[tuple[str, str]]:
    """Yield the lines of the table."""
    runs = max(cost.runs, 1)
    yield "runs", f"{cost.runs:,} ({cost.finished:,} ended, {cost.stopped:,} stopped early)"
    yield "at a time", str(cost.slots)
    yield "targets hit", f"{cost.targets_hit} of {cost.targets}; {cost.ended}"
    yield "sweep", f"{cost.wall:.0f} s, {1000 * cost.wall / runs:.0f} ms a run"
    yield "driving process", f"{1000 * cost.controller / runs:.0f} ms of CPU a run"
    for kind in cost.decisions:
        yield (
            kind.name,
            f"{kind.early_ms:.1f} ms of CPU in the first tenth of runs, {kind.late_ms:.1f} ms in "
            f"the last, at most {kind.longest_ms:.0f} ms ({kind.count:,} times)",
        )
    yield "its memory", " -> ".join(f"{mib:.0f}" for mib in cost.memory_mib) + " MiB"
    size = cost.journal_bytes
    yield "journal", f"{size / runs / 1024:.1f} KiB a run, {size / _MIB:.1f} MiB"
    yield "its replay", f"{cost.journal_replay:.2f} s for {cost.journal_events:,} events"
    yield "to MLflow (sqlite)", f"{1000 * cost.mlflow / runs:.0f} ms a run, {cost.mlflow:.0f} s"
    yield "the same again", f"{cost.mlflow_again:.2f} s"


def resident_mib() -> float:
    """Return the memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB

"""Plain status lines that read well in the log of a submitted job."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from ray import tune

from strsweep.config import Experiment, RunSettings, percent
from strsweep.journal import Follower, Journal, RunRecord, SweepRecord
from strsweep.sweep.outcome import TargetOutcome, outcomes
from strsweep.sweep.record_view import finished_runs, goal_of, spent_of

_HEARTBEAT_S = 20.0
_NAMED = 5
_RUNS_PER_OPEN_TARGET = 1.5
"""What the search needs on a smooth curve beyond its first runs."""


class StatusLines(tune.Callback):
    """Prints what happens to the runs, and after each finished run the state of every target."""

    def __init__(self, experiment: Experiment, journal: Journal, slots: int) -> None:
        self._experiment = experiment
        self._follower = Follower(journal)
        self._slots = slots
        self._started = self._last_line = time.monotonic()
        self._run_started: dict[str, float] = {}
        self._durations: list[float] = []
        self._progress: dict[str, str] = {}
        self._interruptions: Counter[str] = Counter()
        """That were told, by run."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say which run starts, where and why."""
        run_id = trial.config["run_id"]
        run = self._follower.record().runs[run_id]
        proposed = run.proposed
        self._run_started[run_id] = time.monotonic()
        self._progress[run_id] = "starting"
        target = run.target
        aim = "" if target is None else f"aims at {target}, "
        starts = "starts" if run.resumed is None else "goes on"
        reason = proposed.reason if run.resumed is None else run.resumed.reason
        self._say(f"{run_id} {starts:<9} {describe(run.settings)}  ({aim}{reason})")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Remember how far the run is."""
        self._progress[trial.config["run_id"]] = (
            f"epoch {result['epoch']}/{self._experiment.training.epochs} "
            f"{percent(result['sparsity'], 2)}"
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say what the run gave and where the targets stand."""
        run_id = trial.config["run_id"]
        self._progress.pop(run_id, None)
        if run_id in self._run_started:
            self._durations.append(time.monotonic() - self._run_started[run_id])
        record = self._follower.record()
        self._say_interruptions(record)
        run = record.runs[run_id]
        if run.finished is None:
            self._say(f"{run_id} {_why_unfinished(run)}")
            return
        metrics = run.finished.metrics
        self._say(
            f"{run_id} finished  sparsity {percent(metrics['sparsity'], 2)}  "
            f"accuracy {percent(metrics['accuracy'], 2)}"
        )
        if run.unreadable:
            shown = ", ".join(run.unreadable[:_NAMED])
            self._say(f"{run_id} left out {len(run.unreadable)} images it cannot read: {shown}")
        self._say_targets(record)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say that a run is lost."""
        self._progress.pop(trial.config["run_id"], None)
        self._say_interruptions(self._follower.record())
        self._say(f"{trial.config['run_id']} failed    its processes died more often than allowed")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Show a sign of life when nothing was said for a while."""
        if self._progress and time.monotonic() - self._last_line > _HEARTBEAT_S:
            self._say_interruptions(self._follower.record())
            self._say(", ".join(f"{run} {at}" for run, at in self._progress.items()))

    def _say_interruptions(self, record: SweepRecord) -> None:
        for run_id, run in record.runs.items():
            for interruption in run.interruptions[self._interruptions[run_id] :]:
                self._say(f"{run_id} restarts  {interruption.reason}")
            self._interruptions[run_id] = len(run.interruptions)

    def _say_targets(self, record: SweepRecord) -> None:
        states = outcomes(
            goal_of(record, self._experiment), finished_runs(record, self._experiment)
        )
        for state in states:
            print(f"          {describe_target(state)}", flush=True)
        num_open = sum(state.run is None for state in states)
        used = spent_of(record, hours=0).runs
        print(
            f"          {used} of {self._experiment.search.max_runs} runs used"
            f"{self._time_left(num_open)}",
            flush=True,
        )

    def _time_left(self, num_open: int) -> str:
        if not num_open or not self._durations:
            return ""
        rounds = max(1.0, num_open * _RUNS_PER_OPEN_TARGET / self._slots)
        mean = sum(self._durations) / len(self._durations)
        return f", about {clock(rounds * mean)} left"

    def _say(self, text: str) -> None:
        self._last_line = time.monotonic()
        print(f"[{clock(self._last_line - self._started)}] {text}", flush=True)


def _why_unfinished(run: RunRecord) -> str:
    if run.stopped is not None:
        return f"stopped   after epoch {run.stopped.epoch}: {run.stopped.reason}"
    return f"failed    {run.failed.reason if run.failed else 'no result'}"


def describe(settings: RunSettings) -> str:
    """Return the settings of a run as a person reads them."""
    parts = [f"weight decay {settings.weight_decay:.3g}"]
    if settings.corrections:
        parts[0] += f", {settings.changes}"
    if settings.threshold_init is not None:
        parts.append(f"threshold init {settings.threshold_init:.4g}")
    return ", ".join(parts)


def describe_target(state: TargetOutcome) -> str:
    """Return one line about one target."""
    name = f"{state.target!s:>6}"
    if state.run is not None:
        run = state.run
        return (
            f"{name}  hit   {run.run_id}  sparsity {percent(run.sparsity, 2)}  "
            f"accuracy {percent(run.accuracy, 2)}"
        )
    if state.closest is None:
        return f"{name}  open"
    return f"{name}  open  closest {percent(state.closest.sparsity, 2)} ({state.closest.run_id})"


def clock(seconds: float) -> str:
    """Return a duration as mm:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"

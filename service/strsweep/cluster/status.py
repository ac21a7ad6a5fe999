"""Plain status lines that read well in the log of a submitted job."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ray import tune

from strsweep.cluster.remaining import Remaining
from strsweep.config import Experiment
from strsweep.journal import Follower, Journal, RunRecord, SweepRecord
from strsweep.progress import say
from strsweep.search.outcome import TargetOutcome, outcomes
from strsweep.search.runs import SearchState
from strsweep.search.space import space_of
from strsweep.settings import Metric, RunSettings, Target, percent

_HEARTBEAT_S = 10.0
_NAMED = 5


class StatusLines(tune.Callback):
    """Prints what happens to the runs, and after each finished one what it did for the targets.

    Args:
        experiment: Of the sweep.
        journal: Of the sweep, which was started.
        slots: Runs at the same time.
        state: Returns what the search knows now.
    """

    def __init__(
        self,
        experiment: Experiment,
        journal: Journal,
        slots: int,
        state: Callable[[], SearchState],
    ) -> None:
        self._experiment = experiment
        self._follower = Follower(journal)
        problem = self._follower.record().problem
        assert problem is not None
        self._metric = problem.metric
        self._space = space_of(experiment, problem)
        self._state = state
        self._started = self._last_line = time.monotonic()
        self._remaining = Remaining(self._space.onset, slots)
        self._progress: dict[str, str] = {}
        self._printed: Counter[str] = Counter()
        """Interruptions already printed, by run."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say which run starts, and why."""
        run = self._follower.record().runs[trial.config["run_id"]]
        self._progress[run.run_id] = "starting"
        self._remaining.begin(run.run_id, time.monotonic())
        purpose = f"target {run.target}; " if run.target is not None else ""
        settings = describe(run.settings)
        self._say(f"{run.run_id} starts    {settings}  ({purpose}{run.proposed.reason})")

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Remember how far the run is."""
        if "epoch" not in result:
            return  # it failed before
        run = self._follower.record().runs[trial.config["run_id"]]
        last = run.settings.last_epoch or self._experiment.training.epochs
        self._progress[run.run_id] = (
            f"epoch {result['epoch']}/{last}  {self._described(result, run)}  "
            f"{result['seconds']:.3g} s/epoch"
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say what the run gave and where the targets stand."""
        run_id = trial.config["run_id"]
        self._progress.pop(run_id, None)
        self._remaining.end(run_id, time.monotonic())
        record = self._follower.record()
        self._say_interruptions(record)
        run = record.runs[run_id]
        if run.finished is None:
            self._say(f"{run_id} {_why_unfinished(run)}")
            return
        self._say(f"{run_id} finished  {self._described(run.finished.metrics, run)}")
        if run.unreadable:
            what, shown = count(len(run.unreadable), "unreadable image"), run.unreadable[:_NAMED]
            self._say(f"{run_id} left out {what}: {', '.join(shown)}")
        self._say_targets(run)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say that a run is lost."""
        self._progress.pop(trial.config["run_id"], None)
        self._remaining.end(trial.config["run_id"], time.monotonic())
        self._say_interruptions(self._follower.record())
        self._say(f"{trial.config['run_id']} failed    its processes died more often than allowed")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Show a sign of life when nothing was said for a while."""
        if self._progress and time.monotonic() - self._last_line > _HEARTBEAT_S:
            self._say_interruptions(self._follower.record())
            runs = "; ".join(f"{run} {progress}" for run, progress in self._progress.items())
            self._say(f"{runs}{self._eta()}")

    def _say_interruptions(self, record: SweepRecord) -> None:
        for run_id, run in record.runs.items():
            for interruption in run.interruptions[self._printed[run_id] :]:
                self._say(f"{run_id} restarts  {interruption.reason}")
            self._printed[run_id] = len(run.interruptions)

    def _say_targets(self, run: RunRecord) -> None:
        """Show the targets that ``run`` aimed at or serves, and how many are hit."""
        state = self._state()
        found = outcomes(state, self._space)
        for outcome in found:
            serves = outcome.run is not None and outcome.run.run_id == run.run_id
            if serves or outcome.target == run.target:
                say(f"          {describe_target(outcome, self._metric)}")
        hit = sum(outcome.run is not None for outcome in found)
        used = f"{state.usage.runs} of {state.goal.search.max_runs} runs used"
        say(f"          {hit} of {len(found)} targets hit, {used}{self._eta()}")

    def _described(self, metrics: dict[str, float], run: RunRecord) -> str:
        return describe_metrics(metrics, run.target, self._metric)

    def _eta(self) -> str:
        left = self._remaining.seconds(self._state(), time.monotonic())
        return f"  ETA {clock(left)}" if left is not None and left > 0 else ""

    def _say(self, text: str) -> None:
        self._last_line = time.monotonic()
        say(f"[{clock(self._last_line - self._started)}] {text}")


def _why_unfinished(run: RunRecord) -> str:
    if run.stopped is not None:
        return f"stopped   after epoch {run.stopped.epoch}: {run.stopped.reason}"
    if run.failed is None:
        return "paused    the next job continues it"
    return f"failed    {run.failed.reason}"


def describe(settings: RunSettings) -> str:
    """Return the settings of a run as a person reads them."""
    if settings.is_dense:
        return f"dense, weight decay {settings.weight_decay:.3g}"
    parts = [f"weight decay {settings.weight_decay:.3g}"]
    if settings.threshold_init is not None:
        if settings.threshold_decay is not None:
            parts.append(f"threshold decay {settings.threshold_decay:.3g}")
        parts.append(f"threshold init {settings.threshold_init:.4g}")
    if settings.fork is not None:
        parts.append(f"from epoch {settings.fork.epoch}")
    return ", ".join(parts)


def describe_metrics(metrics: dict[str, float], target: Target | None, metric: Metric) -> str:
    """Return what an epoch gave; MACs only where they are the target."""
    shown = [f"sparsity {percent(metrics['sparsity'], 2)}"]
    if target is not None and target.quantity == "macs":
        share = percent(metrics["macs"] / metrics["dense_macs"], 2)
        shown.append(f"MACs {share} ({metrics['macs']:,.0f})")
    shown.append(f"{metric.name} {metric.text(metric.of(metrics), 1)}")
    return "  ".join(shown)


def describe_target(state: TargetOutcome, metric: Metric) -> str:
    """Return one line about one target."""
    name, run = f"{state.target!s:>9}", state.run or state.closest
    if run is None:
        return f"{name}  open"
    what = f"sparsity {percent(run.sparsity, 2)}"
    if state.target.quantity == "macs":
        what = f"MACs {percent(1 - run.macs_pruned, 2)}"
    if state.run is None:
        return f"{name}  open  closest {what} ({run.run_id})"
    return f"{name}  hit   {run.run_id}  {what}  {metric.name} {metric.text(run.score, 1)}"


def count(number: int, noun: str) -> str:
    """Return a number of things, e.g. ``1 image`` or ``2 images``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def clock(seconds: float) -> str:
    """Return a duration as mm:ss or h:mm:ss."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"

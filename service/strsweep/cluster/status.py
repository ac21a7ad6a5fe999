"""Plain status lines that read well in the log of a submitted job, and the time that is left."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from ray import tune

from strsweep.cluster.searcher import TargetSearcher
from strsweep.journal import RunRecord, SweepRecord
from strsweep.progress import is_silent, say
from strsweep.search.runs import Run, SearchState
from strsweep.settings import count
from strsweep.status import clock, describe, describe_metrics, describe_target

_NAMED = 5


class StatusLines(tune.Callback):
    """Prints what happens to the runs, and after each finished one what it did for the targets.

    Args:
        searcher: What it knows is told.
        slots: Runs at the same time.
    """

    def __init__(self, searcher: TargetSearcher, slots: int) -> None:
        self._searcher = searcher
        self._goal = searcher.state().goal
        self._metric = self._goal.problem.metric
        self._started = time.monotonic()
        self._remaining = Remaining(searcher.space.onset, slots)
        self._progress: dict[str, str] = {}
        self._printed: Counter[str] = Counter()
        """Interruptions already printed, by run."""

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say which run starts, and why."""
        run = self._searcher.record().runs[trial.config["run_id"]]
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
        run = self._searcher.record().runs[trial.config["run_id"]]
        last = run.settings.last_epoch or self._goal.epochs
        gave = describe_metrics(result, run.target, self._metric)
        self._progress[run.run_id] = (
            f"epoch {result['epoch']}/{last}  {gave}  {result['seconds']:.3g} s/epoch"
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say what the run gave and where the targets stand."""
        run = self._ended(trial)
        run_id = run.run_id
        if run.finished is None:
            self._say(f"{run_id} {_why_unfinished(run)}")
            return
        self._say(
            f"{run_id} finished  {describe_metrics(run.finished.metrics, run.target, self._metric)}"
        )
        if run.unreadable:
            what, shown = count(len(run.unreadable), "unreadable image"), run.unreadable[:_NAMED]
            self._say(f"{run_id} left out {what}: {', '.join(shown)}")
        self._say_targets(run)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Say that a run is lost."""
        run = self._ended(trial)
        self._say(f"{run.run_id} failed    its processes died more often than allowed")

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Show a sign of life when nothing was said for a while."""
        if self._progress and is_silent():
            self._say_interruptions(self._searcher.record())
            runs = "; ".join(f"{run} {progress}" for run, progress in self._progress.items())
            self._say(f"{runs}{self._eta()}")

    def _ended(self, trial: Any) -> RunRecord:
        """Take note that a run holds no slot any more; returns what is known of it."""
        record, run_id = self._searcher.record(), trial.config["run_id"]
        self._progress.pop(run_id, None)
        self._remaining.end(run_id, time.monotonic())
        self._say_interruptions(record)
        return record.runs[run_id]

    def _say_interruptions(self, record: SweepRecord) -> None:
        for run_id, run in record.runs.items():
            for interruption in run.interruptions[self._printed[run_id] :]:
                self._say(f"{run_id} restarts  {interruption.reason}")
            self._printed[run_id] = len(run.interruptions)

    def _say_targets(self, run: RunRecord) -> None:
        """Show the targets that ``run`` aimed at or serves, and how many are hit."""
        state, found = self._searcher.state(), self._searcher.outcomes()
        for outcome in found:
            serves = outcome.run is not None and outcome.run.run_id == run.run_id
            if serves or outcome.target == run.target:
                say(f"          {describe_target(outcome, self._metric)}")
        hit = sum(outcome.run is not None for outcome in found)
        used = f"{state.usage.runs} of {self._goal.search.max_runs} runs used"
        say(f"          {hit} of {len(found)} targets hit, {used}{self._eta()}")

    def _eta(self) -> str:
        left = self._remaining.seconds(self._searcher.state(), time.monotonic())
        return f"  ETA {clock(left)}" if left is not None and left > 0 else ""

    def _say(self, text: str) -> None:
        say(f"[{clock(time.monotonic() - self._started)}] {text}")


def _why_unfinished(run: RunRecord) -> str:
    if run.stopped is not None:
        return f"stopped   after epoch {run.stopped.epoch}: {run.stopped.reason}"
    if run.failed is None:
        return "paused    the next job continues it"
    return f"failed    {run.failed.reason}"


class Remaining:
    """Estimates the time left from what runs of this job took: to start, and for every epoch.

    Args:
        onset: Epochs that runs share.
        slots: Runs at the same time.
    """

    def __init__(self, onset: int, slots: int) -> None:
        self._onset, self._slots = onset, slots
        self._started: dict[str, float] = {}
        self._ended_s: dict[str, float] = {}
        """What runs took which have ended, in seconds."""

    def begin(self, run_id: str, now: float) -> None:
        """Take note that a run holds a slot from ``now`` on, in seconds of any clock."""
        self._started[run_id] = now

    def end(self, run_id: str, now: float) -> None:
        """Take note that it does not any more."""
        self._ended_s[run_id] = now - self._started.pop(run_id, now)

    def seconds(self, state: SearchState, now: float) -> float | None:
        """Return the seconds left; None as long as no epoch was trained."""
        trained = [run for run in state.runs if run.trained_epochs]
        if not trained:
            return None
        epoch_s = sum(r.trained_s for r in trained) / sum(r.trained_epochs for r in trained)
        start_s = self._start_s(state, now)
        left = [
            self._still_starts_s(run, now, start_s)
            + epoch_s * state.epochs_left(run.settings, run.epoch)
            for run in state.runs
            if run.is_under_way
        ]
        left += [start_s + epochs * epoch_s for epochs in self._not_begun(state)]
        return max(sum(left) / min(self._slots, len(left)), max(left)) if left else 0.0

    def _start_s(self, state: SearchState, now: float) -> float:
        """Return what a run takes beside its epochs, the mean of those that were seen to begin."""
        busy_s = self._ended_s | {run_id: now - at for run_id, at in self._started.items()}
        begun = [run for run in state.runs if run.trained_epochs and run.run_id in busy_s]
        extra = [max(busy_s[run.run_id] - run.trained_s, 0.0) for run in begun]
        return sum(extra) / len(extra) if extra else 0.0

    def _still_starts_s(self, run: Run, now: float, start_s: float) -> float:
        """Return what is left of the start of a run under way."""
        if run.trained_epochs:
            return 0.0
        return max(start_s - (now - self._started.get(run.run_id, now)), 0.0)

    def _not_begun(self, state: SearchState) -> list[int]:
        """Return the epochs of the runs that are still to come."""
        goal, aimed = state.goal, {run.target for run in state.runs if run.is_under_way}
        refined = sum(run.refines is not None for run in state.runs)
        missing = sum(target not in aimed for target in state.open_targets)
        missing += max(goal.search.refine - refined, 0)
        left = [goal.epochs - self._onset] * missing
        begun = self._onset if state.has_shared_start else 0
        if goal.search.baseline and not state.has_baseline:
            return [goal.epochs - begun, *left]
        return [self._onset, *left] if begun < self._onset else left

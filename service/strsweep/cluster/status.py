"""Plain status lines that read well in the log of a submitted job."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from ray import tune

from strsweep.cluster.remaining import Remaining
from strsweep.config import Experiment
from strsweep.journal import Follower, Journal, RunRecord, SweepRecord
from strsweep.progress import is_silent, say
from strsweep.search.outcome import outcomes
from strsweep.search.runs import SearchState
from strsweep.search.space import space_of
from strsweep.settings import count
from strsweep.status import clock, describe, describe_metrics, describe_target

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
        self._started = time.monotonic()
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
        gave = describe_metrics(result, run.target, self._metric)
        self._progress[run.run_id] = (
            f"epoch {result['epoch']}/{last}  {gave}  {result['seconds']:.3g} s/epoch"
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
        self._say(
            f"{run_id} finished  {describe_metrics(run.finished.metrics, run.target, self._metric)}"
        )
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
        if self._progress and is_silent():
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

    def _eta(self) -> str:
        left = self._remaining.seconds(self._state(), time.monotonic())
        return f"  ETA {clock(left)}" if left is not None and left > 0 else ""

    def _say(self, text: str) -> None:
        say(f"[{clock(time.monotonic() - self._started)}] {text}")


def _why_unfinished(run: RunRecord) -> str:
    if run.stopped is not None:
        return f"stopped   after epoch {run.stopped.epoch}: {run.stopped.reason}"
    if run.failed is None:
        return "paused    the next job continues it"
    return f"failed    {run.failed.reason}"

"""What Tune asks: which run next, and which to end early. The memory is the journal."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from strsweep.config import Experiment
from strsweep.errors import EveryRunFailedError, StorageError
from strsweep.journal import (
    Follower,
    Journal,
    RunFailed,
    RunProposed,
    RunRecord,
    RunStopped,
    SweepRecord,
)
from strsweep.search.decide import Begin, Finish, next_action, should_stop
from strsweep.search.outcome import TargetOutcome, outcomes
from strsweep.search.runs import DIED, NO_RESULT, SearchState, StateReader
from strsweep.search.space import space_of
from strsweep.settings import RunSettings

_FAILURES_IN_A_ROW = 3


class TargetSearcher(Searcher):
    """Feeds Tune with runs until every target is hit.

    Its state is the journal: runs that an earlier job left open are continued first, under the
    same run id, and finished ones are never proposed again. So it needs no state in Tune.

    Args:
        experiment: Targets, ranges and budget.
        journal: Of the sweep, which was started; proposals, stops and failures are written to it.
        free_slots: Returns how many runs may train now; asked before each, as nodes come and go.
    """

    def __init__(
        self, experiment: Experiment, journal: Journal, free_slots: Callable[[], int]
    ) -> None:
        super().__init__()  # no metric: Tune would refuse a run that failed before its first epoch
        self._journal = journal
        self._follower = Follower(journal)
        self._free_slots = free_slots
        self._started = time.monotonic()
        self._record = record = self._follower.record()
        """As of the last look at the journal."""
        assert record.problem is not None
        self._reader = StateReader(experiment, record.problem)
        self.space = space_of(experiment, record.problem)
        self._unfinished = [run.run_id for run in record.runs.values() if run.is_open]
        """Left open by an earlier job."""
        self._running: dict[str, str] = {}
        """Trial id of Tune -> run id."""
        self._paused: set[str] = set()
        """Runs that the next job continues: this one is out of time."""
        self._failures: list[str] = []
        self.stopped: str | None = None
        """Why the search ended; None while it goes on."""
        self.refused: StorageError | None = None
        """Why nothing can be written any more: what is open stays so."""

    @property
    def failure(self) -> EveryRunFailedError | None:
        """The error to raise if the sweep stopped because run after run failed."""
        if len(self._failures) < _FAILURES_IN_A_ROW:
            return None
        return EveryRunFailedError(
            f"the last {len(self._failures)} runs failed; the last one: {self._failures[-1]}"
        )

    def is_over(self) -> bool:
        """Return whether nothing is left to train; then ``stopped`` says why."""
        action = next_action(self.state(), self.space)
        if self._unfinished or not isinstance(action, Finish):
            return False
        self.stopped = action.reason
        return True

    def record(self) -> SweepRecord:
        """Return all that the journal tells now."""
        return self._follower.record()

    def outcomes(self) -> list[TargetOutcome]:
        """Return how the targets stand now."""
        return outcomes(self.state(), self.space)

    def state(self) -> SearchState:
        """Return all that a decision depends on now."""
        # A run that finished but that Tune still winds down is known already: it is in the record.
        running = set(self._running.values())
        hours = (time.monotonic() - self._started) / 3600
        return self._reader.state(self.record(), running, hours)

    def suggest(  # pyright: ignore[reportIncompatibleMethodOverride] - Tune accepts FINISHED
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """Return the config of the next trial, None to wait, or ``FINISHED``."""
        if not self.has_slot():
            return None
        if (end := self.refused or self.failure) is not None:
            return self._finish(str(end))
        state = self.state()
        if (late := state.goal.out_of_time(state.usage)) is not None:
            return self._finish(str(late))
        if self._unfinished:
            run = self._record.runs[self._unfinished.pop(0)]
            return self._start(trial_id, run.run_id, run.settings)
        match next_action(state, self.space):
            case Begin() as action:
                proposed = RunProposed(
                    run_id=self._record.next_run_id,
                    settings=action.settings,
                    target=action.target,
                    reason=action.reason,
                    refines=action.refines,
                )
                if not self._write(proposed):
                    return self._finish(str(self.refused))
                return self._start(trial_id, proposed.run_id, action.settings)
            case Finish(reason=reason):
                return self._finish(reason)
            case _:
                return None

    def has_slot(self) -> bool:
        """Return whether the cluster holds another run."""
        return not self._running or len(self._running) < self._free_slots()

    def stops(self, run_id: str, epoch: int) -> bool:
        """Return whether a run is to end after ``epoch``, whose checkpoint is stored."""
        state = self.state()
        run = next((run for run in state.running if run.run_id == run_id), None)
        if run is None or epoch >= (run.settings.last_epoch or state.goal.epochs):
            return False  # the report is old, or the run has ended by itself
        if self.refused is not None or state.goal.out_of_time(state.usage) is not None:
            self._paused.add(run_id)
            return True
        reason = should_stop(state, self.space, run)
        if reason is not None:
            self._write(RunStopped(run_id=run_id, epoch=epoch, reason=reason))
        return reason is not None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Intermediate results are in the journal already."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take note that a trial ended; what it gave is in the journal."""
        run = self.record().runs[self._running.pop(trial_id)]
        if run.finished is not None:
            self._failures.clear()
        elif run.failed is not None:
            self._note_failure(run, run.failed.reason)
        elif (refused := (result or {}).get("refused")) is not None:
            self.refused = StorageError(refused)
        elif run.stopped is None and run.run_id not in self._paused and self.refused is None:
            reason = (result or {}).get("failure") or (DIED if error else NO_RESULT)
            self._write(RunFailed(run_id=run.run_id, reason=reason))
            self._note_failure(run, reason)

    def _write(self, event: RunProposed | RunStopped | RunFailed) -> bool:
        try:
            self._journal.append(event)
        except StorageError as error:
            self.refused = StorageError(f"{error} The same command continues.")
        return self.refused is None

    def _note_failure(self, run: RunRecord, reason: str) -> None:
        if run.proposed.refines is None:  # the targets are hit without it
            self._failures.append(reason)

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; the journal is the state."""
        Path(checkpoint_path).write_text("the state of this search is in the journal\n")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a new searcher reads the journal."""

    def _finish(self, reason: str) -> str | None:
        self.stopped = reason
        return None if self._running else Searcher.FINISHED

    def _start(self, trial_id: str, run_id: str, settings: RunSettings) -> dict[str, Any]:
        self._running[trial_id] = run_id
        return {"run_id": run_id, "settings": settings.model_dump()}


class EarlyStop(FIFOScheduler):
    """Starts trials in their order, and stops one after a checkpoint if the searcher says so."""

    def __init__(self, searcher: TargetSearcher) -> None:
        super().__init__()
        self.searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return whether ``trial`` goes on; a stopped one keeps its checkpoints."""
        stops = self.searcher.stops(trial.config["run_id"], int(result["epoch"]))
        return TrialScheduler.STOP if stops else TrialScheduler.CONTINUE

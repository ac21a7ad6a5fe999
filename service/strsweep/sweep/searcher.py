"""Tune's searcher: asks the pure search what to do, and keeps its memory in the journal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from strsweep.config import Experiment, RunSettings
from strsweep.errors import EveryRunFailedError
from strsweep.journal import (
    Follower,
    Journal,
    RunFailed,
    RunProposed,
    RunRecord,
    RunResumed,
    RunStopped,
    SweepRecord,
)
from strsweep.sweep.one_each import decide_each, told_settings
from strsweep.sweep.record_view import DIED, NO_RESULT, RunViews, goal_of, path_of, spent_of
from strsweep.sweep.search import decide
from strsweep.sweep.spending import out_of_time
from strsweep.sweep.state import (
    Decision,
    Finish,
    FinishedRun,
    Propose,
    Resume,
    Spent,
    UnfinishedRun,
)
from strsweep.sweep.stopping import judge

_FAILURES_IN_A_ROW = 3


class TargetSearcher(Searcher):
    """Feeds Tune with runs until every target is hit.

    Its state is the journal: runs that an earlier job left open are continued first, under the
    same run id, and finished ones are never proposed again. So it needs no state in Tune.

    Args:
        experiment: Targets, ranges and budget.
        journal: Of the sweep, which was started; proposals, stops and failures are written to it.
        places: Tells how many runs may train now; asked before each, as nodes come and go.
    """

    def __init__(self, experiment: Experiment, journal: Journal, places: Callable[[], int]) -> None:
        super().__init__()  # no metric: Tune would refuse a run that failed before its first epoch
        self._experiment = experiment
        self._journal = journal
        self._follower = Follower(journal)
        self._places = places
        self._started = time.monotonic()
        record = self._record()
        self._goal = goal_of(record, experiment)
        self._path = path_of(record, experiment)
        self._views = RunViews(record, experiment)
        self._left_open = [run.run_id for run in record.runs.values() if _is_left(run)]
        self._running: dict[str, str] = {}
        """Trial id of Tune -> run id."""
        self._failures: list[str] = []
        self.stopped: str | None = None
        """Why the search ended; None while it goes on."""

    @property
    def failure(self) -> EveryRunFailedError | None:
        """The error to raise if the sweep stopped because run after run failed."""
        if len(self._failures) < _FAILURES_IN_A_ROW:
            return None
        return EveryRunFailedError(
            f"the last {len(self._failures)} runs failed; the last one: {self._failures[-1]}"
        )

    def is_over(self) -> bool:
        """Tell whether nothing is left to train; then ``stopped`` says why."""
        decision = self._decide(self._record())
        if self._left_open or not isinstance(decision, Finish):
            return False
        self.stopped = decision.reason
        return True

    def suggest(  # pyright: ignore[reportIncompatibleMethodOverride] - Tune accepts FINISHED
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """Return the config of the next trial, None to wait, or ``FINISHED``."""
        if not self.has_place():
            return None
        record = self._record()
        if self.failure is not None:
            self.stopped = str(self.failure)
            return None if self._running else Searcher.FINISHED
        if self._left_open and out_of_time(self._goal, self._spent(record)) is None:
            run = record.runs[self._left_open.pop(0)]
            if run.stopped is not None:
                reason = run.stopped.reason
                self._resume(Resume(run_id=run.run_id, target=run.target, reason=reason))
            return self._start(trial_id, run.run_id, run.settings)
        match self._decide(record):
            case Propose() as decision:
                proposed = self._propose(record, decision)
                return self._start(trial_id, proposed.run_id, proposed.settings)
            case Resume() as decision:
                self._resume(decision)
                run = self._record().runs[decision.run_id]
                return self._start(trial_id, run.run_id, run.settings)
            case Finish(reason=reason):
                self.stopped = reason
                return Searcher.FINISHED
            case _:
                return None

    def has_place(self) -> bool:
        """Tell whether the cluster holds another run."""
        return not self._running or len(self._running) < self._places()

    def stops(self, run_id: str, epoch: int) -> bool:
        """Tell whether a run is to end early, after an epoch whose checkpoint is stored.

        Args:
            run_id: Under way.
            epoch: Its last one, from 1.
        """
        if epoch >= self._goal.epochs:
            return False
        record = self._record()
        finished, unfinished = self._runs(record)
        run = next((run for run in unfinished if run.run_id == run_id), None)
        if run is None:
            return False  # the report is old: the run has ended since
        spent = self._spent(record)
        stop = judge(self._goal, self._path, finished, unfinished, run, spent=spent)
        if stop is not None:
            self._journal.append(RunStopped(run_id=run_id, epoch=epoch, **asdict(stop)))
        return stop is not None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Intermediate results are in the journal already."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take note that a trial ended; what it gave is in the journal."""
        run = self._record().runs[self._running.pop(trial_id)]
        if run.finished is not None:
            self._failures.clear()
        elif run.failed is not None:
            self._note_failure(run, run.failed.reason)
        elif run.stopped is None:
            reason = DIED if error else NO_RESULT
            self._journal.append(RunFailed(run_id=run.run_id, reason=reason))
            self._note_failure(run, reason)

    def _note_failure(self, run: RunRecord, reason: str) -> None:
        if run.refines is None:  # the targets are hit without it
            self._failures.append(reason)

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; the journal is the state."""
        Path(checkpoint_path).write_text("the state of this search is in the journal\n")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a new searcher reads the journal."""

    def _record(self) -> SweepRecord:
        return self._follower.record()

    def _runs(self, record: SweepRecord) -> tuple[list[FinishedRun], list[UnfinishedRun]]:
        # A run that finished but that Tune still winds down is known already: it is in the record.
        # One that was stopped holds its workers until it has left; it cannot be resumed before.
        running = set(self._running.values())
        return self._views.finished(record), self._views.unfinished(record, running)

    def _spent(self, record: SweepRecord) -> Spent:
        return spent_of(record, hours=(time.monotonic() - self._started) / 3600)

    def _decide(self, record: SweepRecord) -> Decision:
        finished, unfinished = self._runs(record)
        spent, failed = self._spent(record), self._views.failed(record)
        if self._path is None:
            return decide_each(self._goal, finished, unfinished, spent=spent, failed=failed)
        return decide(self._goal, self._path, finished, unfinished, spent=spent, failed=failed)

    def _propose(self, record: SweepRecord, decision: Propose) -> RunProposed:
        proposed = RunProposed(
            run_id=record.next_run_id,
            settings=self._settings(decision),
            target=decision.target,
            reason=decision.reason,
            forecast=decision.forecast,
            refines=decision.refines,
        )
        self._journal.append(proposed)
        return proposed

    def _resume(self, decision: Resume) -> None:
        self._journal.append(RunResumed(**vars(decision)))

    def _settings(self, decision: Propose) -> RunSettings:
        if self._path is None:
            assert decision.target is not None
            return told_settings(self._experiment, self._goal, decision.target)
        if decision.threshold_init is None:
            return self._path.at(decision.position)
        settings = self._path.off_path(decision.position, decision.threshold_init)
        assert settings is not None
        return settings

    def _start(self, trial_id: str, run_id: str, settings: RunSettings) -> dict[str, Any]:
        self._running[trial_id] = run_id
        return {"run_id": run_id, **settings.model_dump()}


def _is_left(run: RunRecord) -> bool:
    """Tell whether an earlier job left ``run`` to this one."""
    is_late = run.stopped is not None and run.stopped.ran_out_of_time
    return run.is_open or (is_late and run.finished is None and run.failed is None)

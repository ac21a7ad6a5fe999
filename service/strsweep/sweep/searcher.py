"""Tune's searcher: asks the pure search what to do, and keeps its memory in the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from strsweep.config import Experiment
from strsweep.errors import EveryRunFailedError
from strsweep.journal import Journal, RunFailed, RunProposed, RunRecord, SweepRecord, replay
from strsweep.sweep.one_each import decide_each
from strsweep.sweep.path import Path as SettingsPath
from strsweep.sweep.path import path_of
from strsweep.sweep.search import Decision, Finish, FinishedRun, Goal, OpenRun, Propose, decide

_FAILURES_IN_A_ROW = 3
_DIED, _NO_RESULT = "its processes died; Ray's logs say why", "it left no result"
_MAY_GO_WELL = {_DIED, _NO_RESULT}
"""Failures of machines, not of settings: the same run may succeed the next time."""


class TargetSearcher(Searcher):
    """Feeds Tune with runs until every target is hit.

    Its state is the journal: runs that an earlier job left open are continued first, under the
    same run id, and finished ones are never proposed again. So it needs no state in Tune.

    Args:
        experiment: Targets, ranges and budget.
        journal: Of the sweep; proposals and failures are written to it.
        slots: Runs that the cluster holds at once.
    """

    def __init__(self, experiment: Experiment, journal: Journal, slots: int) -> None:
        super().__init__()  # no metric: Tune would refuse a run that failed before its first epoch
        self._journal = journal
        self._slots = slots
        self._path = path_of(experiment)
        self._is_told = experiment.sparsity.mode != "str"
        self._goal = Goal.of(experiment)
        self._left_open = [run.run_id for run in self._record().runs.values() if run.is_open]
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
        record = self._record()
        decision = self._decide(record)
        if self._left_open or not isinstance(decision, Finish):
            return False
        self.stopped = decision.reason
        return True

    def suggest(  # pyright: ignore[reportIncompatibleMethodOverride] - Tune accepts FINISHED
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """Return the config of the next trial, None to wait, or ``FINISHED``."""
        record = self._record()
        if self.failure is not None:
            return None if self._running else Searcher.FINISHED
        if self._left_open:
            return self._start(trial_id, record.runs[self._left_open.pop(0)].proposed)
        decision = self._decide(record)
        if isinstance(decision, Propose):
            return self._start(trial_id, self._propose(record, decision))
        if isinstance(decision, Finish):
            self.stopped = decision.reason
            return Searcher.FINISHED
        return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Intermediate results are in the journal already."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Take note that a trial ended; what it gave is in the journal."""
        run = self._record().runs[self._running.pop(trial_id)]
        if run.finished is not None:
            self._failures.clear()
            return
        if run.failed is None:
            reason = _DIED if error else _NO_RESULT
            self._journal.append(RunFailed(run_id=run.run_id, reason=reason))
            self._failures.append(reason)
        else:
            self._failures.append(run.failed.reason)

    def save(self, checkpoint_path: str) -> None:
        """Tune wants a file; the journal is the state."""
        Path(checkpoint_path).write_text("the state of this search is in the journal\n")

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a new searcher reads the journal."""

    def _record(self) -> SweepRecord:
        return replay(self._journal.read())

    def _decide(self, record: SweepRecord) -> Decision:
        running = [record.runs[run_id] for run_id in self._running.values()]
        # A run that ended but that Tune still winds down is known already: it is in the record.
        still_open = [run for run in running if run.is_open]
        finished = finished_runs(record, self._path)
        open_runs = [
            OpenRun(position=self._path.locate(run.proposed.settings), target=run.proposed.target)
            for run in still_open
        ]
        spent = len(record.runs)
        if self._is_told:
            failed = [
                self._path.locate(run.proposed.settings)
                for run in record.runs.values()
                if run.failed is not None and run.failed.reason not in _MAY_GO_WELL
            ]
            return decide_each(self._goal, finished, open_runs, spent=spent, failed=failed)
        return decide(self._goal, finished, open_runs, spent=spent, slots=self._slots)

    def _propose(self, record: SweepRecord, decision: Propose) -> RunProposed:
        proposed = RunProposed(
            run_id=record.next_run_id,
            settings=self._path.at(decision.position),
            target=decision.target,
            reason=decision.reason,
        )
        self._journal.append(proposed)
        return proposed

    def _start(self, trial_id: str, proposed: RunProposed) -> dict[str, Any]:
        self._running[trial_id] = proposed.run_id
        return {"run_id": proposed.run_id, **proposed.settings.model_dump()}


def finished_runs(record: SweepRecord, path: SettingsPath) -> list[FinishedRun]:
    """Return the finished runs of a record as the search sees them."""
    return [_finished_run(run, path) for run in record.finished_runs]


def _finished_run(run: RunRecord, path: SettingsPath) -> FinishedRun:
    assert run.finished is not None
    return FinishedRun(
        run_id=run.run_id,
        position=path.locate(run.proposed.settings),
        sparsity=run.finished.metrics["sparsity"],
        accuracy=run.finished.metrics["accuracy"],
    )

"""The journal's record as the search sees it."""

from __future__ import annotations

from collections.abc import Set

from strsweep.config import Experiment
from strsweep.journal import RunRecord, SweepRecord
from strsweep.sweep.path import SearchPath
from strsweep.sweep.state import FailedRun, FinishedRun, Goal, Snapshot, Spent, UnfinishedRun

DIED, NO_RESULT = "its processes died; Ray's logs say why", "it left no result"
"""Failures of machines, not of settings: the same run may succeed the next time."""


def goal_of(record: SweepRecord, experiment: Experiment) -> Goal:
    """Return what ``experiment`` asks for; the record knows the network."""
    assert record.problem is not None
    return Goal.of(experiment, record.problem)


def path_of(record: SweepRecord, experiment: Experiment) -> SearchPath | None:
    """Return the search path; None where nothing is searched."""
    if experiment.is_told or experiment.is_single:
        return None
    assert record.problem is not None
    return SearchPath.of(experiment, record.problem)


def spent_of(record: SweepRecord, *, hours: float) -> Spent:
    """Return what the sweep has cost; its hours are those of one job."""
    own = [run for run in record.runs.values() if run.proposed.adopted_from is None]
    return Spent(runs=len(own), epochs=record.epochs_trained, hours=hours)


def hours_of_last_job(record: SweepRecord) -> float:
    """Return the hours from its start until the last run ended that it trained; 0: it had none."""
    ends = [
        event.time
        for run in record.runs.values()
        for event in (run.finished, run.stopped, run.failed)
        if event is not None
    ]
    return max(0.0, max(ends, default=0.0) - record.started[-1].time) / 3600


def finished_runs(record: SweepRecord, experiment: Experiment) -> list[FinishedRun]:
    """Return the finished runs of ``record``, in the order of proposal."""
    return RunViews(record, experiment).finished(record)


class RunViews:
    """Makes the runs that the search sees, and makes none again that has not changed since.

    Args:
        record: Of the sweep, which was started.
        experiment: Of the sweep.
    """

    def __init__(self, record: SweepRecord, experiment: Experiment) -> None:
        self._path = path_of(record, experiment)
        self._finished: dict[str, tuple[object, FinishedRun]] = {}
        """Run id -> what it was made from, and itself; so is the next one."""
        self._unfinished: dict[str, tuple[object, UnfinishedRun]] = {}

    def finished(self, record: SweepRecord) -> list[FinishedRun]:
        """Return the finished runs, in the order of proposal."""
        return [self._finished_run(run, record) for run in record.finished_runs]

    def unfinished(self, record: SweepRecord, running: Set[str]) -> list[UnfinishedRun]:
        """Return the runs that are under way or were stopped; those that failed are left out.

        Args:
            record: Of the sweep.
            running: Ids of the runs that hold workers.
        """
        return [
            self._unfinished_run(run, record, run.run_id in running)
            for run in record.runs.values()
            if run.finished is None and run.failed is None
        ]

    def failed(self, record: SweepRecord) -> list[FailedRun]:
        """Return the runs that were given up, in the order of proposal."""
        return [
            FailedRun(
                position=_position(run, self._path),
                target=run.target,
                threshold_init=_off_path(run, self._path),
                refines=run.refines,
                would_again=run.failed.reason not in {DIED, NO_RESULT},
            )
            for run in record.runs.values()
            if run.failed is not None and run.finished is None
        ]

    def _finished_run(self, run: RunRecord, record: SweepRecord) -> FinishedRun:
        state = run.num_epochs_written, run.target, run.settings, run.finished
        known = self._finished.get(run.run_id)
        if known is None or known[0] != state:
            known = self._finished[run.run_id] = state, _finished(run, record, self._path)
        return known[1]

    def _unfinished_run(
        self, run: RunRecord, record: SweepRecord, is_running: bool
    ) -> UnfinishedRun:
        state = run.num_epochs_written, run.target, run.settings, is_running
        known = self._unfinished.get(run.run_id)
        if known is None or known[0] != state:
            made = _unfinished(run, record, self._path, is_running=is_running)
            known = self._unfinished[run.run_id] = state, made
        return known[1]


def _unfinished(
    run: RunRecord, record: SweepRecord, path: SearchPath | None, *, is_running: bool
) -> UnfinishedRun:
    return UnfinishedRun(
        run_id=run.run_id,
        position=_position(run, path),
        target=run.target,
        trajectory=_trajectory(run, record, path),
        is_running=is_running,
        threshold_init=_off_path(run, path),
        refines=run.refines,
        began_at=_began_at(run, path),
    )


def _finished(run: RunRecord, record: SweepRecord, path: SearchPath | None) -> FinishedRun:
    assert run.finished is not None
    metrics = run.finished.metrics
    dense = sum(layer.dense_macs for layer in run.finished.layers)
    return FinishedRun(
        run_id=run.run_id,
        position=_position(run, path),
        sparsity=metrics["sparsity"],
        accuracy=metrics["accuracy"],
        macs_pruned=1 - metrics["macs"] / dense if dense else 0.0,
        target=run.target,
        trajectory=_trajectory(run, record, path),
        threshold_init=_off_path(run, path),
        refines=run.refines,
        began_at=_began_at(run, path),
    )


def _position(run: RunRecord, path: SearchPath | None) -> float:
    return 0.0 if path is None else path.locate(run.settings)


def _began_at(run: RunRecord, path: SearchPath | None) -> float | None:
    return path.locate(run.proposed.settings) if path and run.settings.corrections else None


def _off_path(run: RunRecord, path: SearchPath | None) -> float | None:
    settings = run.settings
    return None if path is None or path.contains(settings) else settings.threshold_init


def _trajectory(
    run: RunRecord, record: SweepRecord, path: SearchPath | None
) -> tuple[Snapshot, ...]:
    problem = record.problem
    assert problem is not None
    return tuple(
        Snapshot(
            epoch=epoch,
            drive=0.0 if path is None else path.clock.drive_after(run.settings, epoch),
            sparsity=row.metrics["sparsity"],
            macs_pruned=1 - row.metrics["macs"] / problem.dense_macs,
        )
        for epoch, row in sorted(run.epochs.items())
    )

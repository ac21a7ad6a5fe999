"""The journal's record as the search sees it."""

from __future__ import annotations

from collections.abc import Set

from strsweep.config import Experiment
from strsweep.journal import RunRecord, SweepRecord
from strsweep.sweep.path import SearchPath
from strsweep.sweep.state import FinishedRun, Goal, Snapshot, UnfinishedRun


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


def finished_runs(record: SweepRecord, experiment: Experiment) -> list[FinishedRun]:
    """Return the finished runs of ``record``, in the order of proposal."""
    path = path_of(record, experiment)
    return [_finished(run, record, path) for run in record.finished_runs]


def unfinished_runs(
    record: SweepRecord, experiment: Experiment, running: Set[str]
) -> list[UnfinishedRun]:
    """Return the runs that are under way or were stopped; those that failed are left out.

    Args:
        record: Of the sweep.
        experiment: Of the sweep.
        running: Ids of the runs that hold workers.
    """
    path = path_of(record, experiment)
    return [
        UnfinishedRun(
            run_id=run.run_id,
            position=_position(run, path),
            target=run.target,
            trajectory=_trajectory(run, record),
            is_running=run.run_id in running,
            refines=run.proposed.refines,
        )
        for run in record.runs.values()
        if run.finished is None and run.failed is None
    ]


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
        trajectory=_trajectory(run, record),
        is_on_path=path is None or path.contains(run.proposed.settings),
        refines=run.proposed.refines,
    )


def _position(run: RunRecord, path: SearchPath | None) -> float:
    return 0.0 if path is None else path.locate(run.proposed.settings)


def _trajectory(run: RunRecord, record: SweepRecord) -> tuple[Snapshot, ...]:
    problem = record.problem
    assert problem is not None
    return tuple(
        Snapshot(
            epoch=epoch,
            sparsity=run.epochs[epoch].metrics["sparsity"],
            macs_pruned=1 - run.epochs[epoch].metrics["macs"] / problem.dense_macs,
        )
        for epoch in sorted(run.epochs)
    )

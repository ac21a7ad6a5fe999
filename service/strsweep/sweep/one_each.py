"""Modes that are told their sparsity need no search: every target takes one run, aimed exactly."""

from __future__ import annotations

from collections.abc import Sequence

from strsweep.sweep.search import (
    Decision,
    Finish,
    FinishedRun,
    Goal,
    OpenRun,
    Propose,
    Wait,
    open_targets,
)


def decide_each(
    goal: Goal,
    finished: Sequence[FinishedRun],
    running: Sequence[OpenRun],
    *,
    spent: int,
    failed: Sequence[float] = (),
) -> Decision:
    """Return what to do with a free slot.

    Args:
        goal: As of ``search.decide``.
        finished: As of ``search.decide``.
        running: As of ``search.decide``.
        spent: As of ``search.decide``.
        failed: Targets whose run failed in a way that the same run would fail again.
    """
    tried = {run.target for run in running} | {run.position for run in finished} | {*failed}
    left = [target for target in open_targets(goal, finished) if target not in tried]
    if left and spent < goal.max_runs:
        return Propose(position=left[0], target=left[0], reason="told exactly")
    if running:
        return Wait()
    if not open_targets(goal, finished):
        return Finish("every target is hit")
    if failed:
        return Finish("the runs of the targets left failed, and would fail again")
    return Finish(
        f"search.max_runs ({goal.max_runs}) is spent" if left else "every target had its run"
    )

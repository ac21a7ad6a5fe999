"""Modes that are told their sparsity need no search: every target takes one run, aimed exactly."""

from __future__ import annotations

from collections.abc import Sequence

from strsweep.config import Experiment, RunSettings, Target
from strsweep.sweep.refine import DONE
from strsweep.sweep.spending import exhausted
from strsweep.sweep.state import (
    Decision,
    Finish,
    FinishedRun,
    Goal,
    Propose,
    Spent,
    UnfinishedRun,
    Wait,
    open_targets,
)


def told_settings(experiment: Experiment, goal: Goal, target: Target) -> RunSettings:
    """Return the settings of the run for ``target``: the share of weights or MACs to prune."""
    pruned = goal.pruned(target)
    is_sparsity = target.quantity == "sparsity"
    share = {"sparsity": pruned} if is_sparsity else {"macs": 1 - pruned}
    return experiment.fixed_settings.model_copy(update=share)


def decide_each(
    goal: Goal,
    finished: Sequence[FinishedRun],
    unfinished: Sequence[UnfinishedRun],
    *,
    spent: Spent,
    failed: Sequence[Target] = (),
) -> Decision:
    """Return what to do with a free slot.

    Args:
        goal: As of ``search.decide``.
        finished: As of ``search.decide``.
        unfinished: As of ``search.decide``.
        spent: As of ``search.decide``.
        failed: Targets whose run failed in a way that the same run would fail again.
    """
    tried = {run.target for run in (*finished, *unfinished)} | {*failed}
    left = [target for target in open_targets(goal, finished) if target not in tried]
    reason = exhausted(goal, unfinished, spent)
    if left and reason is None:
        return Propose(position=0.0, target=left[0], reason="told exactly")
    if any(run.is_running for run in unfinished):
        return Wait()
    if not open_targets(goal, finished):
        return Finish(DONE)
    if failed:
        return Finish("the runs of the targets left failed, and would fail again")
    return Finish("every target had its run" if reason is None else str(reason))

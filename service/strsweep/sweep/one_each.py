"""Modes that are told their sparsity need no search: every target takes one run, aimed exactly."""

from __future__ import annotations

from collections.abc import Sequence

from strsweep.config import Experiment, RunSettings, Target
from strsweep.sweep.refine import DONE
from strsweep.sweep.spending import exhausted
from strsweep.sweep.state import (
    Decision,
    FailedRun,
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
    failed: Sequence[FailedRun] = (),
) -> Decision:
    """Return what to do with a free slot.

    Args:
        goal: As of ``search.decide``.
        finished: As of ``search.decide``.
        unfinished: As of ``search.decide``.
        spent: As of ``search.decide``.
        failed: As of ``search.decide``; only a run that may go well the next time is begun again.
    """
    hopeless = {run.target for run in failed if run.would_again}
    tried = {run.target for run in (*finished, *unfinished)} | hopeless
    still_open = open_targets(goal, finished)
    left = [target for target in still_open if target not in tried]
    reason = exhausted(goal, unfinished, spent)
    if left and reason is None:
        return Propose(position=0.0, target=left[0], reason="told exactly")
    if any(run.is_running for run in unfinished):
        return Wait()
    if not still_open:
        return Finish(DONE)
    if reason is not None and (left or any(run.target in still_open for run in unfinished)):
        return Finish(str(reason))
    if hopeless & set(still_open):
        return Finish("the runs of the targets left failed, and would fail again")
    return Finish("every target had its run")

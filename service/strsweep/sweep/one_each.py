"""Methods that obey a budget need no search: every target takes one run, aimed exactly."""

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
    slots: int,  # ruff: ignore[unused-function-argument] - both rules are called alike
) -> Decision:
    """Return what to do with a free slot; arguments as those of ``search.decide``."""
    tried = {run.target for run in running} | {run.position for run in finished}
    left = [target for target in open_targets(goal, finished) if target not in tried]
    if left and spent < goal.max_runs:
        return Propose(position=left[0], target=left[0], reason="its budget has this sparsity")
    if running:
        return Wait()
    if not open_targets(goal, finished):
        return Finish("every target is hit")
    return Finish(
        f"search.max_runs ({goal.max_runs}) is spent" if left else "every target had its run"
    )

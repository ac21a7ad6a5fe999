"""Where to try next, as a pure function of what is known: no Ray, no files, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from strsweep.config import Target
from strsweep.sweep.correction import best_resumption
from strsweep.sweep.curve import expit
from strsweep.sweep.lookahead import NO_CHANCE, best_aim, most_likely
from strsweep.sweep.outlook import Outlook
from strsweep.sweep.path import SearchPath
from strsweep.sweep.refine import refine
from strsweep.sweep.spending import exhausted
from strsweep.sweep.state import (
    AT_END,
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
from strsweep.sweep.window import Window

_APART = 0.15
"""Before anything has finished, runs under way are kept about this far from each other."""
_ANEW = 1e-4
"""The least step from a run to another. Where runs scatter a lot it takes many at nearly the same
place, and larger steps would lead away from it."""
_AROUND_FAILED = 0.02
"""The same from a run that failed by its settings, as by divergence."""
_HOPELESS, _ENOUGH_TRIES = 0.1, 8
"""A target is given up if after so many runs aimed at it another one is still unlikely to hit."""

_OUT_OF_REACH = "the targets left are out of reach of the ranges"
_TOO_SCATTERED = "the targets left cannot be hit within search.tolerance: runs scatter more"


def decide(
    goal: Goal,
    path: SearchPath,
    finished: Sequence[FinishedRun],
    unfinished: Sequence[UnfinishedRun],
    *,
    spent: Spent,
    failed: Sequence[FailedRun] = (),
) -> Decision:
    """Return what to do with a free slot.

    Args:
        goal: Targets, tolerance and what may be spent.
        path: Of the sweep.
        finished: Runs whose sparsity is known.
        unfinished: Runs under way, and runs that were stopped early.
        spent: What the sweep has cost so far.
        failed: Runs that left no result.
    """
    running = [run for run in unfinished if run.is_running]
    targets = open_targets(goal, finished)
    if not targets:
        return refine(goal, path, finished, unfinished, spent=spent, failed=failed)
    covered = {run.target for run in running}
    reachable = _reachable(targets, goal, finished)
    outlook = Outlook(goal, path, finished, unfinished)
    hopeful = _hopeful(reachable, finished, outlook)
    free = [target for target in hopeful if target not in covered]
    reason = exhausted(goal, unfinished, spent)
    if free:
        can_end = [run for run in outlook.resting if not exhausted(goal, unfinished, spent, run)]
        if (resumed := best_resumption(can_end, free, goal, path, outlook)) is not None:
            return resumed
        if reason is None:
            return _aim(free, goal, outlook, unfinished, failed)
    if running:
        return Wait()
    if free:
        return Finish(str(reason))
    return Finish(_OUT_OF_REACH if hopeful == reachable else _TOO_SCATTERED)


def out_of_reach(goal: Goal, target: Target, finished: Sequence[FinishedRun]) -> FinishedRun | None:
    """Return the run at an end of the search path beyond which ``target`` lies; None: in reach."""
    window = goal.window(target)
    ends = [run for run in finished if run.is_on_path and _ends_before(window, target, run)]
    return min(ends, key=lambda run: abs(goal.miss(run, target)), default=None)


def _reachable(
    targets: Sequence[Target], goal: Goal, finished: Sequence[FinishedRun]
) -> list[Target]:
    ends = [run for run in finished if not AT_END < run.position < 1 - AT_END]
    return [target for target in targets if out_of_reach(goal, target, ends) is None]


def _ends_before(window: Window, target: Target, run: FinishedRun) -> bool:
    share = run.pruned(target.quantity)
    return (run.position <= AT_END and share > window.high) or (
        run.position >= 1 - AT_END and share < window.low
    )


def _hopeful(
    targets: Sequence[Target], finished: Sequence[FinishedRun], outlook: Outlook
) -> list[Target]:
    tries = Counter(run.target for run in finished)
    return [
        target
        for target in targets
        if tries[target] < _ENOUGH_TRIES or outlook.chances(target).max() >= _HOPELESS
    ]


def _aim(
    targets: list[Target],
    goal: Goal,
    outlook: Outlook,
    unfinished: Sequence[UnfinishedRun],
    failed: Sequence[FailedRun],
) -> Propose:
    """Propose the run that leaves the least to be done."""
    running = [run.position for run in unfinished if run.is_running]
    if running and not outlook.num_finished:
        target, index = _far_from(running, targets, goal, outlook)
    else:
        target, index = best_aim(targets, goal, outlook)
    diverged = [run.position for run in failed if run.would_again]
    position = _apart(float(outlook.positions[index]), outlook.known, diverged)
    forecast = _forecast(target, index, outlook)
    reason = _reason(target, forecast, outlook)
    return Propose(position=position, target=target, reason=reason, forecast=forecast)


def _far_from(
    running: Sequence[float], targets: Sequence[Target], goal: Goal, outlook: Outlook
) -> tuple[Target, int]:
    """Return what to aim at, and where, while nothing has finished: away from runs under way."""
    chances = np.stack([outlook.chances(target) for target in targets])
    distances = (outlook.positions - np.asarray(running)[:, None]) / _APART
    total = chances.sum(axis=0) * (1 - np.exp(-(distances**2))).prod(axis=0)
    if total.max() <= NO_CHANCE:
        return targets[0], most_likely(targets[0], goal, outlook)
    index = int(total.argmax())
    return targets[int(chances[:, index].argmax())], index


def _forecast(target: Target, index: int, outlook: Outlook) -> tuple[float, float]:
    curve = outlook.curve(target.quantity)
    mean, sd = float(curve.mean[index]), float(curve.sd[index])
    return expit(mean - sd), expit(mean + sd)


def _reason(target: Target, forecast: tuple[float, float], outlook: Outlook) -> str:
    low, high = forecast
    known = f"{outlook.num_finished} runs" if outlook.num_finished else "the decay clock"
    what = "sparsity" if target.quantity == "sparsity" else "pruned MACs"
    return f"{what} {low:.1%} to {high:.1%} expected from {known}"


def _apart(position: float, known: Sequence[float], failed: Sequence[float]) -> float:
    """Move ``position`` by the least step that makes it a new place, and not one of failures."""
    for step in range(20_000):
        offset = (step + 1) // 2 * _ANEW * (1 if step % 2 else -1)
        moved = min(max(position + offset, 0.0), 1.0)
        if all(abs(moved - other) >= 0.9 * _ANEW for other in known) and all(
            abs(moved - other) >= _AROUND_FAILED for other in failed
        ):
            return moved
    return position

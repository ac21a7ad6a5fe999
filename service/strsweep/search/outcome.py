"""What a sweep delivers for each target, and what to change where it missed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from strsweep.config import Experiment
from strsweep.journal import SweepRecord
from strsweep.search.goal import ExceededLimit, Window
from strsweep.search.runs import Run, SearchState, Status, read_state
from strsweep.search.space import Space, space_of
from strsweep.settings import Target


@dataclass(frozen=True, kw_only=True)
class TargetOutcome:
    """The state of one target."""

    target: Target
    run: Run | None
    """The best run that can be landed on the target; None if there is none."""
    closest: Run | None
    """The run with the least distance; None before the first run has finished."""
    miss: float | None
    """What the closest run has pruned beyond the target, as a fraction; None without one."""
    advice: str
    """What to change if the target stays missed; empty if it is hit."""


def outcomes_of(record: SweepRecord, experiment: Experiment) -> list[TargetOutcome]:
    """Return the outcomes of a sweep whose search has ended."""
    assert record.problem is not None
    return outcomes(read_state(record, experiment), space_of(experiment, record.problem))


def outcomes(state: SearchState, space: Space) -> list[TargetOutcome]:
    """Return one outcome per target, in the order the targets were given."""
    needed = state.goal.epochs - space.onset
    limit = state.goal.exceeded(state.usage, state.promised, needed)
    return [_outcome(target, state, space, limit) for target in state.goal.targets]


def dense_score(state: SearchState) -> float | None:
    """Return the score of the dense network of the same recipe; None if it was not trained."""
    whole = [run for run in state.runs if run.settings.is_dense and not run.settings.last_epoch]
    return next((run.score for run in whole if run.status is Status.FINISHED), None)


def _outcome(
    target: Target, state: SearchState, space: Space, limit: ExceededLimit | None
) -> TargetOutcome:
    # Among equally good runs, the one nearest to the target.
    hits, rank = state.hits(target), state.goal.problem.metric.rank
    best = max(hits, key=lambda r: (rank(r.score), -abs(_miss(state, r, target))), default=None)
    closest = min(state.finished, key=lambda run: abs(_miss(state, run, target)), default=None)
    return TargetOutcome(
        target=target,
        run=best,
        closest=closest,
        miss=None if closest is None else _miss(state, closest, target),
        advice="" if best is not None else _advice(target, closest, state, space, limit),
    )


def _miss(state: SearchState, run: Run, target: Target) -> float:
    return run.pruned(target.quantity) - state.goal.pruned(target)


def _advice(
    target: Target,
    closest: Run | None,
    state: SearchState,
    space: Space,
    limit: ExceededLimit | None,
) -> str:
    if closest is None:
        return "no run has finished"
    last = state.run_of(space.settings(target, state)) if space.limited_by else None
    if last is not None and last.status is Status.FINISHED:
        end = "raise the upper" if _miss(state, last, target) < 0 else "lower the lower"
        pruned = last.pruned(target.quantity)
        return f"the ranges end at {pruned:.2%}: {end} end of search.{space.limited_by}"
    miss = _miss(state, closest, target)
    advice: list[str] = []
    if limit is not None:
        above = f"{limit.setting} above {limit.value:.10g}"
        advice.append(f"raise {above} and run the same command again")
    wider = _rounded_up(abs(miss))
    window = Window.around(state.goal.pruned(target), float(wider))
    if state.goal.search.tolerance != "auto" and closest.pruned(target.quantity) in window:
        advice.append(f"accept search.tolerance {wider}, or auto")
    change = "less" if miss < 0 else "more"
    return ", or ".join(advice) or f"its runs scatter farther than landing may go: ask for {change}"


def _rounded_up(value: float) -> str:
    steps = math.floor(value * 1e4 + 1e-6) + 1  # more than the value, whatever its last bit
    return f"{steps / 1e4:.4f}"

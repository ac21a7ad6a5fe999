"""Which run to begin next, and which to end early."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from strsweep.search.runs import Run, SearchState, Status
from strsweep.search.space import Space
from strsweep.settings import Fork, RunSettings, Target, count
from strsweep.training.law import expit, logit

MOST_TRIES = 8
"""A target is given up after so many runs that aimed at it missed."""
DONE = "every target is hit"
_MARGIN = 0.15
"""Logit by which a run may end outside of what it is believed to reach."""


@dataclass(frozen=True, kw_only=True)
class Begin:
    """Begin a new run."""

    settings: RunSettings
    target: Target | None
    """What it aims at; None for the dense network."""
    reason: str
    refines: Target | None = None
    """Set if the run is for a better score at a target that is hit already."""


@dataclass(frozen=True)
class Wait:
    """Nothing is worth beginning until a run under way has finished."""


@dataclass(frozen=True)
class Finish:
    """The search is over."""

    reason: str


Action = Begin | Wait | Finish


def next_action(state: SearchState, space: Space) -> Action:
    """Return what to do with a free slot."""
    wanted = _dense_run(state, space) or _next_run(state, space)
    if isinstance(wanted, Begin):
        needed = state.epochs_left(wanted.settings)
        limit = state.goal.exceeded(state.usage, state.promised, needed)
        if limit is None:
            return wanted
        wanted = Finish(f"{limit}" if state.open_targets else f"{DONE}; {limit}")
    return Wait() if state.running else wanted


def should_stop(state: SearchState, space: Space, run: Run) -> str | None:
    """Return why ``run``, under way, can serve no target any more; None: it can."""
    if run.refines is not None or run.settings.is_dense:
        return None
    targets = state.open_targets
    if not targets:
        return DONE
    if any(_may_hit(state, space, run, target) for target in targets):
        return None
    low, high = space.reach(run, targets[0].quantity)
    return f"would end between {low:.2%} and {high:.2%}, where no target is open"


def _dense_run(state: SearchState, space: Space) -> Action | None:
    """Return the run of the dense network, or of the epochs that are shared, if it is missing."""
    is_whole = state.goal.search.baseline
    if space.onset and not state.has_shared_start:
        reason = "the dense network" if is_whole else "the epochs before thresholds act"
        return Begin(settings=space.dense(is_whole=is_whole), target=None, reason=reason)
    if space.onset and state.prefix is None:
        return Wait()
    if not is_whole or state.has_baseline:
        return None
    settings = space.dense(is_whole=True)
    if space.onset and state.prefix is not None:
        fork = Fork(folder=state.prefix, epoch=space.onset)
        settings = settings.model_copy(update={"fork": fork})
    return Begin(settings=settings, target=None, reason="the dense network")


def _next_run(state: SearchState, space: Space) -> Action:
    targets = state.open_targets
    if not targets:
        return _refinement(state, space)
    under_way = {run.target for run in state.runs if run.is_under_way}
    ended = (run for run in state.runs if not run.is_under_way and not run.is_repeatable)
    tries = Counter(run.target for run in ended)
    hopeful = [target for target in targets if tries[target] < MOST_TRIES]
    free = [target for target in hopeful if target not in under_way]
    failures = Counter(run.target for run in state.runs if run.status is Status.FAILED)
    for target in sorted(free, key=lambda t: (failures[t], space.distance(t, state))):
        settings = space.settings(target, state)
        if state.run_of(settings) is None:
            return Begin(settings=settings, target=target, reason=_reason(state, space))
    if under_way.intersection(targets):
        return Wait()
    if hopeful:
        return Finish("the targets left would have the same runs again")
    return Finish(f"the targets left were missed by {MOST_TRIES} runs each")


def _reason(state: SearchState, space: Space) -> str:
    if not space.retries:
        return "the method is given its target"
    known = len(state.finished)
    return f"by {count(known, 'finished run')}" if known else "by the law alone"


def _refinement(state: SearchState, space: Space) -> Action:
    """Return the next run for a better score, once every target is hit."""
    tried = [run for run in state.runs if run.refines is not None]
    if len(tried) >= state.goal.search.refine:
        return Finish(DONE)
    turns = Counter(run.refines for run in tried)
    for target in sorted(state.goal.targets, key=lambda target: turns[target]):
        known = {run.settings.threshold_init for run in tried if run.refines == target}
        for settings in space.variants(target, state):
            if settings.threshold_init not in known:
                reason = f"a better score at {target}"
                return Begin(settings=settings, target=None, reason=reason, refines=target)
    return Finish(f"{DONE}; no other threshold init is left to try")


def _may_hit(state: SearchState, space: Space, run: Run, target: Target) -> bool:
    low, high = space.reach(run, target.quantity)
    window = state.goal.window(target)
    return expit(logit(low) - _MARGIN) <= window.high and expit(logit(high) + _MARGIN) >= window.low

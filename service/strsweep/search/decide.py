"""Which run to begin next, and which to end early."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from dataclasses import dataclass

from strsweep.config import Fork, RunSettings, Target
from strsweep.search.given import Space
from strsweep.search.goal import ExceededLimit
from strsweep.search.runs import Run, SearchState, Status
from strsweep.training.law import expit, logit

MOST_TRIES = 8
"""A target is given up after so many runs that aimed at it missed."""
DONE = "every target is hit"
_LATE = 0.5
"""Share of a run's epochs before which nothing is said about its end."""
_MARGIN = 0.15
"""Logit by which a run may end outside of what it is believed to reach."""


@dataclass(frozen=True, kw_only=True)
class Train:
    """Begin a new run."""

    settings: RunSettings
    target: Target | None
    """What it aims at; None for the dense network."""
    reason: str
    refines: Target | None = None
    """Set if the run is for accuracy at a target that is hit already."""


@dataclass(frozen=True)
class Wait:
    """Nothing is worth beginning until a run under way has finished."""


@dataclass(frozen=True)
class Finish:
    """The search is over."""

    reason: str


Action = Train | Wait | Finish


def next_action(state: SearchState, space: Space) -> Action:
    """Return what to do with a free slot."""
    wanted = _dense_run(state, space) or _next_run(state, space)
    if isinstance(wanted, Train):
        limit = _limit(state, wanted.settings)
        if limit is None:
            return wanted
        wanted = Finish(_end(state, str(limit)))
    return Wait() if state.running else wanted


def should_stop(state: SearchState, space: Space, run: Run) -> str | None:
    """Return why ``run``, under way, can serve no target any more; None: it can."""
    if run.refines is not None or run.settings.is_dense:
        return None
    targets = state.open_targets
    if not targets:
        return DONE
    if run.epoch < _LATE * state.goal.epochs or _shows_an_end(state, space, run):
        return None
    if any(_may_hit(state, space, run, target) for target in targets):
        return None
    low, high = space.reach(run, targets[0].quantity)
    return f"would end between {low:.2%} and {high:.2%}, where no target is open"


def out_of_reach(state: SearchState, space: Space, target: Target) -> Run | None:
    """Return a run at an end of the ranges beyond which ``target`` lies; None: it is in reach."""
    window = state.goal.window(target)
    for run in state.finished:
        if _led_to_its_target(state, run):
            continue  # it shows where it was led, not where the ranges end
        pruned, end = run.pruned(target.quantity), space.end(run)
        if (end < 0 and pruned > window.high) or (end > 0 and pruned < window.low):
            return run
    return None


def _led_to_its_target(state: SearchState, run: Run) -> bool:
    lead = run.settings.lead
    if lead is None:
        return False
    wanted = lead.pruned if run.target is None else state.goal.pruned(run.target)
    return run.pruned(lead.quantity) in state.goal.window_at(wanted)


def _dense_run(state: SearchState, space: Space) -> Action | None:
    """Return the run of the dense network, or of the epochs that are shared, if it is missing."""
    is_whole = state.goal.has_baseline
    if space.onset and not state.has_shared_start:
        reason = "the dense network" if is_whole else "the epochs before thresholds act"
        return Train(settings=space.dense(is_whole=is_whole), target=None, reason=reason)
    if space.onset and state.prefix is None:
        return Wait()
    if not is_whole or state.has_baseline:
        return None
    settings = space.dense(is_whole=True)
    if space.onset and state.prefix is not None:
        fork = Fork(folder=state.prefix, epoch=space.onset)
        settings = settings.model_copy(update={"fork": fork})
    return Train(settings=settings, target=None, reason="the dense network")


def _next_run(state: SearchState, space: Space) -> Action:
    targets = state.open_targets
    if not targets:
        return _refinement(state, space)
    busy = {run.target for run in state.runs if run.status in {Status.RUNNING, Status.PAUSED}}
    reachable = [target for target in targets if out_of_reach(state, space, target) is None]
    hopeful = [target for target in reachable if _is_hopeful(state, space, target)]
    free = [target for target in hopeful if target not in busy]
    if free:
        return _aimed(_nearest(state, space, free), state, space)
    if not reachable:
        return Finish("the targets left are out of reach of the ranges")
    if hopeful:
        return Wait()
    return Finish(
        f"the targets left were missed by {MOST_TRIES} runs each"
        if space.retries
        else "every target had its run"
    )


def _nearest(state: SearchState, space: Space, targets: list[Target]) -> Target:
    """Return the target that known runs say most of, or the middle one before there are any."""
    levels = {target: logit(state.goal.pruned(target)) for target in targets}
    middle = statistics.median(levels.values()) if space.retries else 0.0
    failures = Counter(run.target for run in state.runs if run.status is Status.FAILED)

    def order(target: Target) -> tuple[float, ...]:
        distance = space.distance(target, state)
        apart = abs(levels[target] - middle) if math.isinf(distance) else 0.0
        return failures[target], distance, apart

    return min(targets, key=order)


def _aimed(target: Target, state: SearchState, space: Space) -> Train:
    known = len(state.finished)
    plural = "run" if known == 1 else "runs"
    reason = f"by {known} finished {plural}" if known else "by the law alone"
    reason = reason if space.retries else "the method is given its target"
    return Train(settings=space.settings(target, state), target=target, reason=reason)


def _is_hopeful(state: SearchState, space: Space, target: Target) -> bool:
    tries = [run for run in state.runs if run.target == target and not run.is_repeatable]
    ended = [run for run in tries if run.status not in {Status.RUNNING, Status.PAUSED}]
    return len(ended) < (MOST_TRIES if space.retries else 1)


def _refinement(state: SearchState, space: Space) -> Action:
    """Return the next run for accuracy, once every target is hit."""
    tried = [run for run in state.runs if run.refines is not None]
    if len(tried) >= state.goal.refine:
        return Finish(DONE)
    turns = Counter(run.refines for run in tried)
    for target in sorted(state.goal.targets, key=lambda target: turns[target]):
        known = {run.settings.threshold_init for run in tried if run.refines == target}
        for settings in space.variants(target, state):
            if settings.threshold_init not in known:
                reason = f"more accuracy at {target}"
                return Train(settings=settings, target=None, reason=reason, refines=target)
    return Finish(f"{DONE}; no other threshold init is left to try")


def _limit(state: SearchState, settings: RunSettings) -> ExceededLimit | None:
    return state.goal.exceeded(state.usage, state.promised, state.epochs_left(settings))


def _end(state: SearchState, reason: str) -> str:
    return reason if state.open_targets else f"{DONE}; {reason}"


def _shows_an_end(state: SearchState, space: Space, run: Run) -> bool:
    """Return whether ``run`` is the first at an end of the ranges: it shows what is in reach."""
    end = space.end(run)
    return end != 0 and all(space.end(other) != end for other in state.finished)


def _may_hit(state: SearchState, space: Space, run: Run, target: Target) -> bool:
    low, high = space.reach(run, target.quantity)
    window = state.goal.window(target)
    return expit(logit(low) - _MARGIN) <= window.high and expit(logit(high) + _MARGIN) >= window.low

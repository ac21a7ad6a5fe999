"""Where to try next, as a pure function of what is known: no Ray, no files, no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from strsweep.config import Experiment
from strsweep.sweep.curve import SparsityCurve

_NUM_FIRST_RUNS = 2
"""Runs that must have finished before the curve can be aimed with."""
_CLOSEST = 1e-3
"""Two runs nearer than this on the path would teach nothing new."""
_INSIDE = 0.05
"""Share of a gap that an aimed run keeps away from its ends."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is asked of a search."""

    targets: tuple[float, ...]
    tolerance: float
    max_runs: int
    searched: str = "search.weight_decay"
    """The setting whose range decides what can be reached."""

    @classmethod
    def of(cls, experiment: Experiment) -> Goal:
        """Return what ``experiment`` asks for."""
        search = experiment.search
        by_decay = isinstance(search.weight_decay, tuple)
        return cls(
            targets=search.targets,
            tolerance=search.tolerance,
            max_runs=search.max_runs,
            searched="search.weight_decay" if by_decay else "search.threshold_init",
        )


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run whose final sparsity is known."""

    run_id: str
    position: float
    """On the search path, in [0, 1]."""
    sparsity: float
    accuracy: float

    def hits(self, target: float, tolerance: float) -> bool:
        """Tell whether the run counts for ``target``."""
        return abs(self.sparsity - target) <= tolerance


@dataclass(frozen=True, kw_only=True)
class OpenRun:
    """A run under way, and the target it aims at (None: it explores)."""

    position: float
    target: float | None


@dataclass(frozen=True, kw_only=True)
class Propose:
    """Train at ``position``."""

    position: float
    target: float | None
    reason: str


@dataclass(frozen=True)
class Wait:
    """Nothing worth starting until a run under way has finished."""


@dataclass(frozen=True)
class Finish:
    """The search is over."""

    reason: str


Decision = Propose | Wait | Finish


def decide(
    goal: Goal,
    finished: Sequence[FinishedRun],
    running: Sequence[OpenRun],
    *,
    spent: int,
    slots: int,
) -> Decision:
    """Return what to do with a free slot.

    Args:
        goal: Targets, tolerance and how many runs may be spent.
        finished: Runs whose sparsity is known.
        running: Runs under way.
        spent: Runs proposed so far: finished, running and failed.
        slots: Runs that the cluster holds at once; the first ones are spread over as many.
    """
    targets = open_targets(goal, finished)
    if not targets:
        return Finish("every target is hit")
    if spent >= goal.max_runs:
        return Wait() if running else Finish(f"search.max_runs ({goal.max_runs}) is spent")
    if len(finished) < _NUM_FIRST_RUNS:
        return _first_runs(finished, running, slots)
    return _aim(targets, finished, running)


def open_targets(goal: Goal, finished: Sequence[FinishedRun]) -> list[float]:
    """Return the targets that no finished run hits, rising."""
    return sorted(
        target
        for target in goal.targets
        if not any(run.hits(target, goal.tolerance) for run in finished)
    )


def out_of_reach(target: float, finished: Sequence[FinishedRun]) -> bool:
    """Tell whether ``target`` lies beyond an end of the search path that was tried."""
    at_low_end = [run.sparsity for run in finished if run.position <= _CLOSEST]
    at_high_end = [run.sparsity for run in finished if run.position >= 1 - _CLOSEST]
    return any(target < s for s in at_low_end) or any(target > s for s in at_high_end)


def _first_runs(
    finished: Sequence[FinishedRun], running: Sequence[OpenRun], slots: int
) -> Decision:
    """Spread the first runs evenly: nothing is known that would favour a place."""
    known = [run.position for run in finished] + [run.position for run in running]
    num_first = max(slots, _NUM_FIRST_RUNS)
    places = [(index + 0.5) / num_first for index in range(num_first)]
    free = [place for place in places if _is_new(place, known)]
    if running and (len(known) >= num_first or not free):
        return Wait()
    if not free:
        free = [_widest_gap(known)]
    return Propose(position=free[0], target=None, reason="first look at the range")


def _aim(
    targets: list[float], finished: Sequence[FinishedRun], running: Sequence[OpenRun]
) -> Decision:
    reachable = [target for target in targets if not out_of_reach(target, finished)]
    if not reachable:
        return Wait() if running else Finish("the targets left are out of reach of the ranges")
    curve = SparsityCurve([run.position for run in finished], [run.sparsity for run in finished])
    known = [run.position for run in finished] + [run.position for run in running]
    if curve.is_flat:
        return Propose(
            position=_widest_gap(known), target=None, reason="no rise of sparsity is seen yet"
        )
    aimed = {run.target for run in running}
    for target in reachable:
        position = _position_for(target, curve, finished)
        if target not in aimed and _is_new(position, [run.position for run in running]):
            return Propose(
                position=_apart(position, known), target=target, reason=_reason(target, finished)
            )
    assert running  # with nothing running, the first reachable target was proposed
    return Wait()


def _position_for(target: float, curve: SparsityCurve, finished: Sequence[FinishedRun]) -> float:
    """Return where the curve has ``target``, kept inside the gap between the runs around it."""
    below = max((run.position for run in finished if run.sparsity < target), default=0.0)
    above = min((run.position for run in finished if run.sparsity > target), default=1.0)
    position = min(max(curve.position_of(target), 0.0), 1.0)
    if below >= above:  # noise: the runs around the target contradict each other
        return position
    margin = _INSIDE * (above - below)
    # The ends of the path may be tried themselves; the runs at the ends of a gap were.
    low = below + margin if any(run.position == below for run in finished) else 0.0
    high = above - margin if any(run.position == above for run in finished) else 1.0
    return min(max(position, low), high)


def _reason(target: float, finished: Sequence[FinishedRun]) -> str:
    below = max(
        (r for r in finished if r.sparsity < target), key=lambda r: r.sparsity, default=None
    )
    above = min(
        (r for r in finished if r.sparsity > target), key=lambda r: r.sparsity, default=None
    )
    if below is None or above is None:
        nearest = below or above
        assert nearest is not None
        return f"beyond {nearest.run_id} ({nearest.sparsity:.2%})"
    return (
        f"between {below.run_id} ({below.sparsity:.2%}) and {above.run_id} ({above.sparsity:.2%})"
    )


def _is_new(position: float, known: Sequence[float]) -> bool:
    return all(abs(position - other) > _CLOSEST for other in known)


def _apart(position: float, known: Sequence[float]) -> float:
    """Move ``position`` by the least step that makes it a new place."""
    for step in range(1, 1000):
        offset = step // 2 * 2 * _CLOSEST * (1 if step % 2 else -1)
        moved = min(max(position + offset, 0.0), 1.0)
        if _is_new(moved, known):
            return moved
    return position


def _widest_gap(known: Sequence[float]) -> float:
    """Return the middle of the widest stretch without a run, or an end that was not tried."""
    ends = [end for end in (1.0, 0.0) if _is_new(end, known)]
    if ends:
        return ends[0]
    places = np.sort(np.asarray(known))
    widest = int(np.argmax(np.diff(places)))
    return float(places[widest : widest + 2].mean())

"""How long a sweep will still take."""

from __future__ import annotations

from strsweep.search.runs import SearchState, Status


class Remaining:
    """Estimates the time left from what the epochs of this job took, process starts included.

    Args:
        onset: Epochs that runs share.
        slots: Runs at the same time.
    """

    def __init__(self, onset: int, slots: int) -> None:
        self._onset, self._slots = onset, slots
        self._started: dict[str, float] = {}
        self._ended_s = 0.0
        """Time that runs took which have ended."""
        self._epochs_before: int | None = None

    def begin(self, run_id: str, now: float, state: SearchState) -> None:
        """Take note that a run holds a slot from ``now`` on, in seconds of any clock."""
        self._started[run_id] = now
        if self._epochs_before is None:
            self._epochs_before = state.usage.epochs

    def end(self, run_id: str, now: float) -> None:
        """Take note that it does not any more."""
        self._ended_s += now - self._started.pop(run_id, now)

    def seconds(self, state: SearchState, now: float) -> float | None:
        """Return the seconds left; None as long as no epoch was trained."""
        trained = state.usage.epochs - (self._epochs_before or 0)
        if trained <= 0:
            return None
        busy_s = self._ended_s + sum(now - started for started in self._started.values())
        runs = self._epochs_left(state)
        if not runs:
            return 0.0
        rounds = max(sum(runs) / min(self._slots, len(runs)), max(runs))
        return rounds * busy_s / trained

    def _epochs_left(self, state: SearchState) -> list[int]:
        """Return the epochs that every run still needs, those included that are not begun."""
        goal = state.goal
        under_way = [r for r in state.runs if r.status in {Status.RUNNING, Status.PAUSED}]
        left = [state.epochs_left(run.settings, run.epoch) for run in under_way]
        aimed = {run.target for run in under_way}
        refined = sum(run.refines is not None for run in state.runs)
        num_missing = sum(target not in aimed for target in state.open_targets)
        num_missing += max(goal.refine - refined, 0)
        begun = self._onset if state.has_shared_start else 0
        if goal.has_baseline and not state.has_baseline:
            left.append(goal.epochs - begun)
        elif begun < self._onset:
            left.append(self._onset)
        return left + [goal.epochs - self._onset] * num_missing

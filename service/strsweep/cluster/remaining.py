"""How long a sweep will still take."""

from __future__ import annotations

from strsweep.search.runs import Run, SearchState


class Remaining:
    """Estimates the time left from what runs of this job took: to start, and for every epoch.

    Args:
        onset: Epochs that runs share.
        slots: Runs at the same time.
    """

    def __init__(self, onset: int, slots: int) -> None:
        self._onset, self._slots = onset, slots
        self._started: dict[str, float] = {}
        self._ended_s: dict[str, float] = {}
        """What runs took which have ended, in seconds."""

    def begin(self, run_id: str, now: float) -> None:
        """Take note that a run holds a slot from ``now`` on, in seconds of any clock."""
        self._started[run_id] = now

    def end(self, run_id: str, now: float) -> None:
        """Take note that it does not any more."""
        self._ended_s[run_id] = now - self._started.pop(run_id, now)

    def seconds(self, state: SearchState, now: float) -> float | None:
        """Return the seconds left; None as long as no epoch was trained."""
        trained = [run for run in state.runs if run.trained_epochs]
        if not trained:
            return None
        epoch_s = sum(r.trained_s for r in trained) / sum(r.trained_epochs for r in trained)
        start_s = self._start_s(state, now)
        left = [
            self._still_starts_s(run, now, start_s)
            + epoch_s * state.epochs_left(run.settings, run.epoch)
            for run in state.runs
            if run.is_under_way
        ]
        left += [start_s + epochs * epoch_s for epochs in self._not_begun(state)]
        return max(sum(left) / min(self._slots, len(left)), max(left)) if left else 0.0

    def _start_s(self, state: SearchState, now: float) -> float:
        """Return what a run takes beside its epochs, the mean of those that were seen to begin."""
        busy_s = self._ended_s | {run_id: now - at for run_id, at in self._started.items()}
        begun = [run for run in state.runs if run.trained_epochs and run.run_id in busy_s]
        extra = [max(busy_s[run.run_id] - run.trained_s, 0.0) for run in begun]
        return sum(extra) / len(extra) if extra else 0.0

    def _still_starts_s(self, run: Run, now: float, start_s: float) -> float:
        """Return what is left of the start of a run under way."""
        if run.trained_epochs:
            return 0.0
        return max(start_s - (now - self._started.get(run.run_id, now)), 0.0)

    def _not_begun(self, state: SearchState) -> list[int]:
        """Return the epochs of the runs that are still to come."""
        goal, aimed = state.goal, {run.target for run in state.runs if run.is_under_way}
        refined = sum(run.refines is not None for run in state.runs)
        missing = sum(target not in aimed for target in state.open_targets)
        missing += max(goal.search.refine - refined, 0)
        left = [goal.epochs - self._onset] * missing
        begun = self._onset if state.has_shared_start else 0
        if goal.search.baseline and not state.has_baseline:
            return [goal.epochs - begun, *left]
        return [self._onset, *left] if begun < self._onset else left

"""Tune's scheduler: ends runs early that the search has no use for."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from strsweep.sweep.searcher import TargetSearcher


class EarlyStop(FIFOScheduler):
    """Starts trials in their order, and stops one after a checkpoint if the searcher says so.

    Args:
        searcher: Of the sweep; it judges, and notes the stop in the journal.
    """

    def __init__(self, searcher: TargetSearcher) -> None:
        super().__init__()
        self._searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return whether ``trial`` goes on; a stopped one keeps its checkpoints."""
        stops = self._searcher.stops(trial.config["run_id"], int(result["epoch"]))
        return TrialScheduler.STOP if stops else TrialScheduler.CONTINUE

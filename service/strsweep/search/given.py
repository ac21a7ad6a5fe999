"""How targets become settings, and the simple case: methods that are given their sparsity."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from strsweep.config import Experiment, Problem
from strsweep.search.runs import Run, SearchState
from strsweep.settings import Quantity, RunSettings, Target


class Space(ABC):
    """Maps targets to the settings of runs."""

    onset: int = 0
    """Epochs that all runs share."""
    retries: bool = False
    """Another run for the same target can do better than the first."""
    limited_by: str = ""
    """The setting whose range decides what can be reached; empty if none does."""

    @abstractmethod
    def settings(self, target: Target, state: SearchState) -> RunSettings:
        """Return the settings of the next run for ``target``."""

    @abstractmethod
    def dense(self, *, is_whole: bool) -> RunSettings:
        """Return the settings of the dense network, whole or for the epochs that are shared."""

    def distance(self, target: Target, state: SearchState) -> float:
        """Return how little is known of ``target``: the next run is for the least."""
        return 0.0

    def variants(self, target: Target, state: SearchState) -> Sequence[RunSettings]:
        """Return settings that lead to ``target`` with thresholds that prune later or earlier."""
        return ()

    def reach(self, run: Run, quantity: Quantity) -> tuple[float, float]:
        """Return between which shares a run under way may end."""
        return 0.0, 1.0


class GivenSpace(Space):
    """Methods that are given their sparsity: every target takes one run."""

    def __init__(self, experiment: Experiment, problem: Problem) -> None:
        decay = experiment.search.weight_decay
        assert isinstance(decay, float | int)
        self._weight_decay, self._dense_macs = decay, problem.dense_macs

    def settings(self, target: Target, state: SearchState) -> RunSettings:
        """See ``Space``."""
        return self.given(target)

    def given(self, target: Target) -> RunSettings:
        """Return the settings of the run for ``target``."""
        pruned = target.pruned(self._dense_macs)
        if target.quantity == "sparsity":
            return RunSettings(weight_decay=self._weight_decay, sparsity=pruned)
        return RunSettings(weight_decay=self._weight_decay, macs=1 - pruned)

    def dense(self, *, is_whole: bool) -> RunSettings:
        """See ``Space``."""
        return RunSettings(weight_decay=self._weight_decay, is_dense=True)

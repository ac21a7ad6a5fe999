"""Land the runs of targets on the cluster, as soon as a target is hit, while others train."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

import ray
from ray import tune

from strsweep.cluster.lanes import Lanes
from strsweep.config import Experiment
from strsweep.errors import CheckpointError, StorageError
from strsweep.journal import Follower, Journal, ModelLanded, SweepRecord
from strsweep.progress import say
from strsweep.search.outcome import TargetOutcome
from strsweep.settings import Metric, percent
from strsweep.storage import storage_of
from strsweep.training.checkpoints import load_checkpoint
from strsweep.training.desk import Land, Told
from strsweep.training.landing import needs_landing


class Landings(tune.Callback):
    """The landings of one job, each done once by the first lane that is free.

    Tune calls it between its steps. A landing that fails is reported in one line: the target keeps
    its run as it was trained. The sweep was started, and ``outcomes`` returns how targets stand.
    """

    def __init__(
        self,
        experiment: Experiment,
        lanes: Lanes,
        journal: Journal,
        outcomes: Callable[[], Sequence[TargetOutcome]],
    ) -> None:
        self._experiment, self._lanes, self._journal = experiment, lanes, journal
        self._follower, self._outcomes = Follower(journal), outcomes
        self._begun: set[str] = set()
        self._waiting: dict[Any, Land] = {}
        """By Ray's reference of their end."""

    def begin(self) -> None:
        """Give the lanes every target's run that is not landed and not begun."""
        for work in self._works(record := self._follower.record()):
            if needs_landing(self._experiment, record, work.run, work.target):
                self._begin(work)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Look whether the run that ended is that of a target."""
        self.begin()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Write down what has landed."""
        with suppress(StorageError):  # training meets it, too, or the end of the job does
            self._take(timeout_s=0.0)

    def finish(self) -> None:
        """Land what is left after the search, and wait for all of it.

        What an earlier job landed is not done again unless its checkpoint is damaged, and a run on
        its target to the weight needs nothing.

        Raises:
            StorageError: The storage refuses, or stayed away too long.
        """
        self.begin()
        for work in self._works(record := self._follower.record()):
            landed = record.landed.get((work.target, work.run.run_id))
            if landed is not None and work.name not in self._begun and self._is_damaged(landed):
                self._begin(work)
        while self._waiting:
            self._take(timeout_s=None)

    def _works(self, record: SweepRecord) -> list[Land]:
        hit = [(state.run, state.target) for state in self._outcomes() if state.run is not None]
        return [Land(record.runs[run.run_id], target) for run, target in hit]

    def _begin(self, work: Land) -> None:
        if work.name not in self._begun:
            self._begun.add(work.name)
            self._lanes.do(work)
            self._waiting[self._lanes.follow(work)] = work

    def _is_damaged(self, landed: ModelLanded) -> bool:
        try:
            return not load_checkpoint(storage_of(self._experiment), landed.checkpoint)
        except CheckpointError as error:
            say(f"{landed.target} lands again: {error}")
            return True

    def _take(self, timeout_s: float | None) -> None:
        """Write down a landing that is done; wait for one if need be."""
        if not self._waiting:
            return
        done, _ = ray.wait(list(self._waiting), num_returns=1, timeout=timeout_s)
        for reference in done:
            self._begun.discard((work := self._waiting.pop(reference)).name)
            self._write(cast("Told", ray.get(reference)), work)
            self._begun.add(work.name)  # else, the desk keeps what came of it for the end

    def _write(self, told: Told, work: Land) -> None:
        if told.refused is not None:
            raise StorageError(told.refused)
        if told.landed is None:
            reason = f"landing failed: {told.failure:.200}"
            say(f"{work.target} keeps {work.run.run_id} as trained, {reason}")
            return
        self._journal.append(told.landed)
        problem = self._follower.record().problem
        assert problem is not None
        say(f"{work.target} landed {work.run.run_id}: {_gain(told.landed, work, problem.metric)}")


def _gain(landed: ModelLanded, work: Land, metric: Metric) -> str:
    """Return what landing changed, in words."""
    assert work.run.finished is not None
    before, after = work.run.finished.metrics, landed.metrics
    pruned = f"sparsity {percent(before['sparsity'], 2)} -> {percent(after['sparsity'], 2)}"
    if "rank" in after:
        ranks = ", ".join(f"{row.name} {row.rank}" for row in landed.layers if row.rank is not None)
        pruned = f"rank {before['rank']:.0f} -> {after['rank']:.0f}, the most not above ({ranks})"
    score = f"{metric.text(metric.of(before))} -> {metric.text(metric.of(after))}"
    return f"{pruned}, {metric.name} {score}"

"""The runs of a sweep as its search sees them, read from the journal's record."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Set
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from strsweep.config import Experiment, Problem
from strsweep.journal import RunRecord, SweepRecord
from strsweep.search.goal import Goal, Usage
from strsweep.settings import Quantity, RunSettings, Target
from strsweep.training.law import ThresholdClock

DIED, NO_RESULT = "its processes died; Ray's logs say why", "it left no result"
"""Failures of machines, not of settings: the same run may succeed the next time."""


class Status(Enum):
    """How far a run came."""

    RUNNING = "running"
    PAUSED = "paused"
    """Neither running nor ended: the next job resumes it."""
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run after its newest epoch."""

    run_id: str
    settings: RunSettings
    target: Target | None
    refines: Target | None = None
    """The target, hit already, whose score it is to better."""
    status: Status
    epoch: int = 0
    """Newest that is known, from 1; 0: none."""
    sparsity: float = 0.0
    macs_pruned: float = 0.0
    """Share of the dense network's multiply-adds that is gone."""
    rank_pruned: float = 0.0
    """Share of the ranks that is gone, where they are learned."""
    score: float = 0.0
    decayed: float = 0.0
    """Decay of its thresholds times accumulated learning rate, summed over its epochs."""
    trained_epochs: int = 0
    """That it trained itself, and what they took in seconds."""
    trained_s: float = field(default=0.0, compare=False)
    is_repeatable: bool = False
    """It failed by a machine, not by its settings."""
    prefix: str | None = None
    """Folder of the checkpoint that other runs can fork from."""

    @property
    def is_under_way(self) -> bool:
        """True if it has not ended: it trains, or the next job resumes it."""
        return self.status in {Status.RUNNING, Status.PAUSED}

    def pruned(self, quantity: Quantity) -> float:
        """Return the share that is pruned, of weights, multiply-adds or ranks."""
        shares = {"sparsity": self.sparsity, "macs": self.macs_pruned, "rank": self.rank_pruned}
        return shares[quantity]


@dataclass(frozen=True, kw_only=True)
class SearchState:
    """All that a decision depends on."""

    goal: Goal
    runs: tuple[Run, ...]
    """In the order of proposal."""
    usage: Usage

    @cached_property
    def finished(self) -> list[Run]:
        """Runs that were trained to their end and are no dense network."""
        done = [run for run in self.runs if run.status is Status.FINISHED]
        return [run for run in done if not run.settings.is_dense]

    @property
    def running(self) -> list[Run]:
        """Runs that hold workers."""
        return [run for run in self.runs if run.status is Status.RUNNING]

    @property
    def prefix(self) -> str | None:
        """Folder of the checkpoint that runs fork from; None: there is none yet."""
        return next((run.prefix for run in self.runs if run.prefix), None)

    @property
    def has_shared_start(self) -> bool:
        """True if the epochs that runs share are trained, or under way."""
        dense = [run for run in self.runs if run.settings.is_dense]
        return any(run.prefix or run.status is not Status.FAILED for run in dense)

    @property
    def has_baseline(self) -> bool:
        """True if the whole dense network was begun; a machine's failure does not count."""
        dense = [run for run in self.runs if run.settings.is_dense]
        return any(run.settings.last_epoch is None and not run.is_repeatable for run in dense)

    @cached_property
    def open_targets(self) -> list[Target]:
        """The targets that no finished run hits, in the order they were given."""
        return [target for target in self.goal.targets if not self._is_hit(target)]

    def _is_hit(self, target: Target) -> bool:
        # Of a thousand runs and targets each pair would be looked at in every decision.
        ends, window = self._ends[target.quantity], self.goal.window(target)
        first = bisect_left(ends, window.low)
        return first < len(ends) and ends[first] in window

    @cached_property
    def _ends(self) -> dict[Quantity, list[float]]:
        """What the finished runs have pruned, in order."""
        quantities: tuple[Quantity, ...] = ("sparsity", "macs", "rank")
        return {kind: sorted(run.pruned(kind) for run in self.finished) for kind in quantities}

    def hits(self, target: Target) -> list[Run]:
        """Return the finished runs that can be delivered for ``target``."""
        window = self.goal.window(target)
        return [run for run in self.finished if run.pruned(target.quantity) in window]

    def run_of(self, settings: RunSettings) -> Run | None:
        """Return the run that has these settings; one that a machine ended may be repeated."""
        same = (run for run in self.runs if run.settings == settings)
        return next((run for run in same if not run.is_repeatable), None)

    @property
    def promised(self) -> int:
        """Epochs that the runs under way still need."""
        return sum(self.epochs_left(run.settings, run.epoch) for run in self.running)

    def epochs_left(self, settings: RunSettings, epoch: int = 0) -> int:
        """Return the epochs that a run still needs after ``epoch``; a fork has its first ones."""
        begun = 0 if settings.fork is None else settings.fork.epoch
        return (settings.last_epoch or self.goal.epochs) - max(epoch, begun)


class StateReader:
    """Reads the state of one sweep from its record, and no run again that has not changed since."""

    def __init__(self, experiment: Experiment, problem: Problem) -> None:
        self._experiment, self._problem = experiment, problem
        self._goal = Goal.of(experiment, problem)
        self._known: dict[str, tuple[object, Run]] = {}

    def state(
        self, record: SweepRecord, running: Set[str] = frozenset(), hours: float = 0.0
    ) -> SearchState:
        """Return what is known ``hours`` after the start of a job whose runs ``running`` train."""
        usage = Usage(runs=len(record.runs), epochs=record.epochs_trained, hours=hours)
        runs = tuple(self._run(run, run.run_id in running) for run in record.runs.values())
        return SearchState(goal=self._goal, runs=runs, usage=usage)

    def _run(self, run: RunRecord, is_running: bool) -> Run:
        status = _status(run, is_running)
        version = run.num_epochs_trained, run.prefix, status
        known = self._known.get(run.run_id)
        if known is None or known[0] != version:
            known = self._known[run.run_id] = version, self._read(run, status)
        return known[1]

    def _read(self, run: RunRecord, status: Status) -> Run:
        last = run.epochs[max(run.epochs)].metrics if run.epochs else {}
        dense, full_rank = self._problem.dense_macs, max(self._problem.full_rank, 1)
        return Run(
            run_id=run.run_id,
            settings=run.settings,
            target=run.target,
            refines=run.proposed.refines,
            status=status,
            epoch=int(last.get("epoch", 0)),
            sparsity=last.get("sparsity", 0.0),
            macs_pruned=1 - last.get("macs", dense) / dense,
            rank_pruned=1 - last.get("rank", full_rank) / full_rank,
            score=last.get(self._problem.metric.name, 0.0),
            decayed=self._decayed(run),
            trained_epochs=len(run.epochs),
            trained_s=sum(row.metrics.get("seconds", 0.0) for row in run.epochs.values()),
            is_repeatable=run.failed is not None and run.failed.reason in {DIED, NO_RESULT},
            prefix=None if run.prefix is None else run.prefix.checkpoint,
        )

    def _decayed(self, run: RunRecord) -> float:
        steps = self._problem.steps_per_epoch
        clock = ThresholdClock.of(self._experiment, steps, run.settings.onset)
        return sum(
            row.metrics["threshold_decay"] * clock.of_epoch(epoch)
            for epoch, row in run.epochs.items()
        )


def read_state(record: SweepRecord, experiment: Experiment) -> SearchState:
    """Return the state of a sweep that no job runs, with the hours until its last run ended."""
    assert record.problem is not None
    ends = [end.time for run in record.runs.values() for end in run.ends]
    hours = max(0.0, max(ends, default=0.0) - record.started[-1].time) / 3600
    return StateReader(experiment, record.problem).state(record, hours=hours)


def _status(run: RunRecord, is_running: bool) -> Status:
    if run.finished is not None:
        return Status.FINISHED
    if run.failed is not None:
        return Status.FAILED
    if run.stopped is not None:
        return Status.STOPPED
    return Status.RUNNING if is_running else Status.PAUSED

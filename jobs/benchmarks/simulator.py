"""A sweep with one slot, in this process: the decisions of a real one, without Ray and storage.

Benchmarks let it train (``TrainedRuns``); tests and ablations let it read recorded runs
(``ReplayedRuns``), which takes no time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from benchmarks.recorded import Trained
from strsweep.config import Experiment, Problem
from strsweep.journal import run_id_of
from strsweep.search.decide import Begin, Finish, next_action, should_stop
from strsweep.search.goal import Goal, Usage
from strsweep.search.outcome import TargetOutcome, outcomes
from strsweep.search.runs import Run, SearchState, Status
from strsweep.search.space import Space, space_of
from strsweep.settings import RunSettings, Target
from strsweep.training.law import ThresholdClock


class Runs(Protocol):
    """Knows how the runs of one experiment go."""

    def train(self, settings: RunSettings) -> Trained:
        """Return the whole run with ``settings``."""
        ...


class SimulatedSweep:
    """Trains one run after the other until the search is over.

    Args:
        experiment: Without ``auto``.
        problem: Its network and data.
        runs: Of this experiment.
    """

    def __init__(self, experiment: Experiment, problem: Problem, runs: Runs) -> None:
        self.space: Space = space_of(experiment, problem)
        self.epochs = 0
        """That were trained; those that forked runs share count once."""
        self.trained: dict[str, Trained] = {}
        self.end = ""
        self._experiment, self._problem, self._runs = experiment, problem, runs
        self._known: list[Run] = []
        self._goal = Goal.of(experiment, problem)

    @property
    def state(self) -> SearchState:
        """What a decision depends on."""
        usage = Usage(runs=len(self._known), epochs=self.epochs)
        return SearchState(goal=self._goal, runs=tuple(self._known), usage=usage)

    @property
    def begun(self) -> Sequence[Run]:
        """Runs that aimed at targets, in their order."""
        return [run for run in self._known if not run.settings.is_dense]

    def ask(self, targets: Sequence[Target]) -> None:
        """Take other targets, as a later job of the same sweep does; all runs are kept."""
        search = self._goal.search.model_copy(update={"targets": tuple(targets)})
        self._goal = replace(self._goal, search=search)

    def search(self) -> None:
        """Train until the search is over."""
        while not isinstance(action := next_action(self.state, self.space), Finish):
            assert isinstance(action, Begin), f"nothing runs, yet the action is {action}"
            self._train(action)
        self.end = action.reason

    def outcomes(self) -> list[TargetOutcome]:
        """Return what every target would be delivered."""
        return outcomes(self.state, self.space)

    def _train(self, action: Begin) -> None:
        settings, whole = action.settings, self._runs.train(action.settings)
        run = Run(
            run_id=run_id_of(len(self._known) + 1),
            settings=settings,
            target=action.target,
            refines=action.refines,
            status=Status.RUNNING,
        )
        self.trained[run.run_id] = whole
        self._known.append(run)
        begun = settings.fork.epoch if settings.fork else 0
        for epoch in range(begun + 1, len(whole.epochs) + 1):
            self.epochs += 1
            self._known[-1] = run = self._after(run, whole, epoch)
            if self._stops(run):
                self._known[-1] = replace(run, status=Status.STOPPED)
                return
        self._known[-1] = replace(run, status=Status.FINISHED)

    def _after(self, run: Run, whole: Trained, epoch: int) -> Run:
        row, settings = whole.epochs[epoch - 1], run.settings
        steps = self._problem.steps_per_epoch
        clock = ThresholdClock.of(self._experiment, steps, settings.onset)
        has_prefix = settings.shared_epoch is not None and epoch >= settings.onset
        return replace(
            run,
            epoch=epoch,
            sparsity=row.sparsity,
            macs_pruned=1 - row.macs / self._problem.dense_macs,
            score=row.accuracy,
            decayed=run.decayed + row.threshold_decay * clock.of_epoch(epoch),
            prefix=run.run_id if has_prefix else run.prefix,
        )

    def _stops(self, run: Run) -> bool:
        is_last = run.epoch == (run.settings.last_epoch or self._goal.epochs)
        if is_last or run.epoch % self._experiment.training.checkpoint_every:
            return False
        return should_stop(self.state, self.space, run) is not None

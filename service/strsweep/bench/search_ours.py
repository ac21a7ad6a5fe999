"""The search of strsweep over whole runs: decisions as a sweep takes them, one run at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from strsweep.bench.search_cost import Delivery
from strsweep.bench.search_forecast import ForecastCheck, check_forecasts, snapshots
from strsweep.bench.search_runs import RecordedRun, Runs
from strsweep.config import Experiment, Problem, RunSettings, Target
from strsweep.journal import run_id_of
from strsweep.sweep.path import SearchPath
from strsweep.sweep.search import decide
from strsweep.sweep.state import (
    Decision,
    Finish,
    FinishedRun,
    Goal,
    Propose,
    Resume,
    Spent,
    UnfinishedRun,
)
from strsweep.sweep.stopping import Stop, judge


@dataclass(frozen=True)
class Rules:
    """Where the decisions come from."""

    decide: Callable[..., Decision] = decide
    judge: Callable[..., Stop | None] = judge


class OneByOne:
    """A sweep with one slot. A stopped run costs the epochs it had, and goes on from there.

    Args:
        experiment: An STR sweep.
        problem: Its numbers.
        runs: Of its seed.
        rules: The search.
    """

    def __init__(
        self, experiment: Experiment, problem: Problem, runs: Runs, rules: Rules | None = None
    ) -> None:
        self.goal = Goal.of(experiment, problem)
        self.finished: list[FinishedRun] = []
        self.epochs = 0
        """That were trained."""
        self.checks: list[ForecastCheck] = []
        self._path = SearchPath.of(experiment, problem)
        self._checkpoint_every = experiment.training.checkpoint_every
        self._runs, self._rules = runs, rules or Rules()
        self._resting: dict[str, UnfinishedRun] = {}
        self._settings: dict[str, RunSettings] = {}
        self._aims: list[Target | None] = []

    @property
    def num_runs(self) -> int:
        """Runs that were begun."""
        return len(self._settings)

    @property
    def begun(self) -> list[tuple[Target | None, RecordedRun]]:
        """Every run with what it aimed at first, in the order of their beginning."""
        return list(zip(self._aims, map(self._runs.at, self._settings.values()), strict=True))

    def ask(self, targets: Sequence[Target]) -> None:
        """Take other targets, as a later job of the same sweep does; all runs are kept."""
        self.goal = replace(self.goal, targets=tuple(targets))

    def search(self) -> None:
        """Train until the search is over."""
        while not isinstance(decision := self._decision(), Finish):
            match decision:
                case Propose():
                    self._train(self._begun(decision))
                case Resume():
                    self._train(self._resumed(decision))
                case _:
                    raise AssertionError(f"nothing runs, yet the decision is {decision}")

    def deliveries(self) -> list[Delivery]:
        """Return for every target its most accurate hit, as a sweep does, or the nearest run."""
        return [self._delivery(target) for target in self.goal.targets]

    def _decision(self) -> Decision:
        return self._rules.decide(
            self.goal,
            self._path,
            self.finished,
            list(self._resting.values()),
            spent=self._spent,
        )

    @property
    def _spent(self) -> Spent:
        return Spent(runs=self.num_runs, epochs=self.epochs)

    def _begun(self, decision: Propose) -> UnfinishedRun:
        assert decision.threshold_init is None
        run = UnfinishedRun(
            run_id=run_id_of(self.num_runs + 1),
            position=decision.position,
            target=decision.target,
        )
        self._settings[run.run_id] = self._path.at(decision.position)
        whole = self._whole(run.run_id)
        self._aims.append(decision.target)
        self.checks += check_forecasts(self.goal, self._path, self.finished, run, whole)
        return run

    def _resumed(self, decision: Resume) -> UnfinishedRun:
        run = self._resting.pop(decision.run_id)
        if decision.correction is not None:
            settings = self._settings[run.run_id].corrected(decision.correction)
            self._settings[run.run_id] = settings
            began_at = run.position if run.began_at is None else run.began_at
            run = replace(run, position=self._path.locate(settings), began_at=began_at)
        return replace(run, target=decision.target, is_running=True)

    def _whole(self, run_id: str) -> RecordedRun:
        return self._runs.at(self._settings[run_id])

    def _train(self, run: UnfinishedRun) -> None:
        settings, whole = self._settings[run.run_id], self._whole(run.run_id)
        for epoch in range(run.epochs + 1, whole.epochs + 1):
            self.epochs += 1
            seen = snapshots(whole, settings, self._path.clock, self.goal.dense_macs, epoch)
            run = replace(run, trajectory=seen)
            if epoch < whole.epochs and self._stops(run):
                self._resting[run.run_id] = replace(run, is_running=False)
                return
        self.finished.append(_finished(run, whole))

    def _stops(self, run: UnfinishedRun) -> bool:
        if run.epochs % self._checkpoint_every:
            return False
        unfinished = [*self._resting.values(), run]
        verdict = self._rules.judge(
            self.goal, self._path, self.finished, unfinished, run, spent=self._spent
        )
        return verdict is not None

    def _delivery(self, target: Target) -> Delivery:
        wanted = self.goal.pruned(target)
        hits = [run for run in self.finished if self.goal.hits(run, target)]
        best = max(
            hits or self.finished,
            key=lambda run: (run.accuracy if hits else 0.0, -abs(self.goal.miss(run, target))),
        )
        whole = self._whole(best.run_id)
        return Delivery(target=wanted, run=whole, is_hit=bool(hits), landed=whole.landed_on(wanted))


def _finished(run: UnfinishedRun, whole: RecordedRun) -> FinishedRun:
    last = run.trajectory[-1]
    return FinishedRun(
        run_id=run.run_id,
        position=run.position,
        sparsity=last.sparsity,
        accuracy=whole.accuracy[-1],
        macs_pruned=last.macs_pruned,
        target=run.target,
        trajectory=run.trajectory,
        began_at=run.began_at,
    )

"""Sweeps without training: the runs of a simulated one follow a curve, and end in any order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from strsweep.config import Correction, Experiment, Problem, RunSettings, Target, load_experiment
from strsweep.sweep.curve import expit, logit
from strsweep.sweep.path import SearchPath
from strsweep.sweep.search import decide
from strsweep.sweep.state import (
    Decision,
    Finish,
    FinishedRun,
    Goal,
    Propose,
    Resume,
    Snapshot,
    Spent,
    UnfinishedRun,
    open_targets,
)
from strsweep.sweep.stopping import judge

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
PROBLEM = Problem(steps_per_epoch=11, weights=69904, dense_macs=452224, weight_scale=0.0245)
"""Of digits."""
IMAGENET = Path(__file__).parents[3] / "jobs/configs/imagenet_resnet50.yaml"
IMAGENET_PROBLEM = Problem(
    steps_per_epoch=5005, weights=25_502_912, dense_macs=4_089_184_256, weight_scale=0.0229
)
"""Of ResNet50."""

Curve = Callable[[float], float]
"""Maps a position on the search path to a sparsity."""


_ASKED = (
    "search.targets=[0.80, 0.90, 0.95, 0.98]",
    "search.tolerance=0.005",
    "search.threshold_init=-10",
    "search.weight_decay=[4e-3, 2.4e-2]",
    "search.max_runs=20",
)
"""Whatever the example file shows."""


def digits(*overrides: str) -> Experiment:
    return load_experiment(DIGITS, [*_ASKED, *overrides])


PATH = SearchPath.of(digits(), PROBLEM)


def sparsities(*values: float) -> tuple[Target, ...]:
    return tuple(Target(sparsity=value) for value in values)


TARGETS = sparsities(0.8, 0.9, 0.95, 0.98)


def a_goal(
    targets: Sequence[Target] = TARGETS,
    *,
    tolerance: float = 0.005,
    max_runs: int = 40,
    max_epochs: int | None = None,
    max_hours: float | None = None,
    refine: int = 0,
    corrects: bool = True,
) -> Goal:
    return Goal(
        targets=tuple(targets),
        dense_macs=PROBLEM.dense_macs,
        tolerance=tolerance,
        epochs=30,
        max_runs=max_runs,
        max_epochs=max_epochs,
        max_hours=max_hours,
        refine=refine,
        corrects=corrects,
    )


def smooth(low: float, high: float, bend: float = 0.0) -> Curve:
    """Return a rising curve from logit ``low`` to logit ``high``, bent but smooth."""
    return lambda p: expit(low + (high - low) * (p + bend * p * (1 - p)))


class Noisy:
    """A curve around which runs scatter."""

    def __init__(self, truth: Curve, sd: float, seed: int) -> None:
        self.truth, self._sd = truth, sd
        self._rng = np.random.default_rng(seed)

    def __call__(self, position: float) -> float:
        share = self.truth(position)
        return expit(logit(share) + self._rng.normal(0, self._sd)) if self._sd else share


LEVEL = smooth(-2, 6)


def macs_pruned(sparsity: float) -> float:
    """Multiply-adds follow the weights, some way behind."""
    return expit(logit(sparsity) - 0.5)


_FAR_BELOW = -20.0
"""The place of a run that has not come to where the path begins."""


def trajectory(
    final: float,
    epochs: int,
    *,
    position: float | None = None,
    curve: Curve = LEVEL,
    path: SearchPath = PATH,
    threshold_init: float | None = None,
    settings: RunSettings | None = None,
) -> tuple[Snapshot, ...]:
    """Return the first epochs of a run that will end at ``final``.

    Thresholds do not know how long a run is: it follows ``curve`` by its drive, and is a little
    ahead. Without ``position`` it is where ``LEVEL`` has its end. A corrected run has ``settings``.
    """
    place = (logit(final) + 2) / 8 if position is None else position
    end = logit(curve(place))
    seen: list[Snapshot] = []
    for epoch in range(1, epochs + 1):
        drive = (
            drive_after(path, place, threshold_init, epoch)
            if settings is None
            else path.clock.drive_after(settings, epoch)
        )
        (then,) = path.reached(np.asarray([drive])).tolist()
        then = _FAR_BELOW if math.isnan(then) else then
        left = path.clock.left(epoch)
        drift = end - logit(curve(then)) if left else 0.0
        share = expit(logit(final) - drift + 0.4 * left)
        snapshot = Snapshot(
            epoch=epoch, drive=drive, sparsity=share, macs_pruned=macs_pruned(share)
        )
        seen.append(snapshot)
    return tuple(seen)


def drive_after(
    path: SearchPath, position: float, threshold_init: float | None, epoch: int
) -> float:
    """Return the drive that a run with one weight decay has come to."""
    first = path.at(position).threshold_init if threshold_init is None else threshold_init
    assert first is not None
    end = path.drive_at(position)
    return end - path.clock.left(epoch) * (end + path.clock.delay(first))


def finished_run(
    position: float,
    sparsity: float,
    number: int = 1,
    *,
    target: Target | None = None,
    accuracy: float = 0.9,
    threshold_init: float | None = None,
    refines: Target | None = None,
) -> FinishedRun:
    return FinishedRun(
        run_id=f"run-{number:03d}",
        position=position,
        sparsity=sparsity,
        accuracy=accuracy,
        macs_pruned=macs_pruned(sparsity),
        target=target,
        trajectory=trajectory(sparsity, 30, position=position, threshold_init=threshold_init),
        threshold_init=threshold_init,
        refines=refines,
    )


def unfinished_run(
    position: float,
    target: Target | None,
    number: int = 99,
    *,
    final: float = 0.5,
    epochs: int = 0,
    is_running: bool = True,
    threshold_init: float | None = None,
    refines: Target | None = None,
) -> UnfinishedRun:
    return UnfinishedRun(
        run_id=f"run-{number:03d}",
        position=position,
        target=target,
        trajectory=trajectory(final, epochs, position=position, threshold_init=threshold_init),
        is_running=is_running,
        threshold_init=threshold_init,
        refines=refines,
    )


@dataclass
class Simulated:
    """A sweep; ``pick`` says which of the runs under way comes to its next checkpoint first."""

    curve: Curve
    goal: Goal = field(default_factory=a_goal)
    path: SearchPath = PATH
    slots: int = 2
    checkpoint_every: int = 10
    pick: Callable[[int], int] = lambda _: 0
    on_decision: Callable[[Simulated, Decision], None] = lambda *_: None
    finished: list[FinishedRun] = field(default_factory=list[FinishedRun])
    unfinished: list[UnfinishedRun] = field(default_factory=list[UnfinishedRun])
    proposed: list[Propose] = field(default_factory=list[Propose])
    finals: dict[str, float] = field(default_factory=dict[str, float])
    settings: dict[str, RunSettings] = field(default_factory=dict[str, RunSettings])
    """Of corrected runs."""
    epochs: int = 0
    stops: int = 0
    resumes: int = 0

    @property
    def running(self) -> list[UnfinishedRun]:
        return [run for run in self.unfinished if run.is_running]

    @property
    def spent(self) -> Spent:
        return Spent(runs=len(self.proposed), epochs=self.epochs)

    @property
    def cost(self) -> float:
        """Epochs, in full runs."""
        return self.epochs / self.goal.epochs

    @property
    def missed(self) -> list[Target]:
        return open_targets(self.goal, self.finished)

    def search(self) -> Finish:
        for _ in range(10_000):
            decision = self._fill()
            running = self.running
            if not running:
                assert isinstance(decision, Finish), "it waits for nothing"
                return decision
            self._advance(running[self.pick(len(running))])
        raise AssertionError("it does not end")

    def decision(self) -> Decision:
        return decide(self.goal, self.path, self.finished, self.unfinished, spent=self.spent)

    def _fill(self) -> Decision | None:
        decision = None
        while len(self.running) < self.slots:
            decision = self.decision()
            self.on_decision(self, decision)
            if isinstance(decision, Propose):
                self._start(decision)
            elif isinstance(decision, Resume):
                self._resume(decision)
            else:
                break
        return decision

    def _start(self, proposed: Propose) -> None:
        self.proposed.append(proposed)
        run_id = f"run-{len(self.proposed):03d}"
        self.finals[run_id] = self.curve(proposed.position)
        self.unfinished.append(
            UnfinishedRun(
                run_id=run_id,
                position=proposed.position,
                target=proposed.target,
                threshold_init=proposed.threshold_init,
                refines=proposed.refines,
            )
        )

    def _resume(self, decision: Resume) -> None:
        (run,) = [run for run in self.unfinished if run.run_id == decision.run_id]
        assert not run.is_running
        self.resumes += 1
        if decision.correction is not None:
            run = self._corrected(run, decision.correction)
        self._put(run, replace(run, target=decision.target, is_running=True))

    def _corrected(self, run: UnfinishedRun, correction: Correction) -> UnfinishedRun:
        assert correction.after_epoch == run.epochs
        before = self.settings.get(run.run_id) or self.path.at(run.position)
        settings = self.settings[run.run_id] = before.corrected(correction)
        began_at = run.position if run.began_at is None else run.began_at
        moved = replace(run, position=self.path.locate(settings), began_at=began_at)
        truth = self._truth
        change = logit(truth(moved.position)) - logit(truth(run.position))
        self.finals[run.run_id] = expit(logit(self.finals[run.run_id]) + change)
        self._put(run, moved)
        return moved

    @property
    def _truth(self) -> Curve:
        return self.curve.truth if isinstance(self.curve, Noisy) else self.curve

    def _advance(self, run: UnfinishedRun) -> None:
        epoch = min(run.epochs + self.checkpoint_every, self.goal.epochs)
        self.epochs += epoch - run.epochs
        seen = trajectory(
            self.finals[run.run_id],
            epoch,
            position=run.position,
            curve=self._truth,
            path=self.path,
            threshold_init=run.threshold_init,
            settings=self.settings.get(run.run_id),
        )
        now = replace(run, trajectory=seen)
        self._put(run, now)
        if epoch == self.goal.epochs:
            self.unfinished.remove(now)
            self.finished.append(_ended(now))
        elif judge(self.goal, self.path, self.finished, self.unfinished, now, spent=self.spent):
            self.stops += 1
            self._put(now, replace(now, is_running=False))

    def _put(self, old: UnfinishedRun, new: UnfinishedRun) -> None:
        self.unfinished[self.unfinished.index(old)] = new


def _ended(run: UnfinishedRun) -> FinishedRun:
    last = run.trajectory[-1]
    return FinishedRun(
        run_id=run.run_id,
        position=run.position,
        sparsity=last.sparsity,
        accuracy=0.9,
        macs_pruned=last.macs_pruned,
        target=run.target,
        trajectory=run.trajectory,
        threshold_init=run.threshold_init,
        refines=run.refines,
        began_at=run.began_at,
    )

"""Sweeps without training: their runs obey a law that was planted, epoch by epoch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

from benchmarks.recorded import Epoch, Trained
from benchmarks.simulator import SimulatedSweep

from strsweep.config import Experiment, Problem, load_experiment
from strsweep.search.goal import Goal, Usage
from strsweep.search.runs import Run, SearchState, Status
from strsweep.search.space import LawSpace
from strsweep.settings import Metric, RunSettings, Target
from strsweep.training.law import FITTED, Law, Leader, ThresholdClock, expit, logit

CONFIGS = Path(__file__).parents[3] / "jobs/configs"
PROBLEM = Problem(
    steps_per_epoch=11,
    weights=69_904,
    dense_macs=452_224,
    weight_scale=0.0245,
    metric=Metric(name="accuracy"),
)
"""Of digits."""
IMAGENET_PROBLEM = Problem(
    steps_per_epoch=5005,
    weights=25_502_912,
    dense_macs=4_089_184_256,
    weight_scale=0.0229,
    metric=Metric(name="accuracy"),
)
"""Of ResNet50."""

OWN_RANGE = (
    "search.led=false",
    "search.threshold_init=-10",
    "search.threshold_decay=[4e-3, 2.4e-2]",
)
PUBLISHED = ("search.decay=shared", "search.led=false", "search.threshold_init=-10")
SHARED_RANGE = (*PUBLISHED, "search.weight_decay=[4e-3, 2.4e-2]")
STEERED = ("sparsity.mode=steered", "search.weight_decay=1e-4")
GMP = ("sparsity.mode=gmp", "sparsity.budget=uniform", "search.weight_decay=1e-4")

_ASKED = ("search.targets=[0.80, 0.90, 0.95, 0.98]", "search.max_runs=40")
"""Whatever the example file shows."""


@cache
def digits(*overrides: str) -> Experiment:
    return load_experiment(CONFIGS / "digits.yaml", [*_ASKED, *overrides])


def sparsities(*values: float) -> tuple[Target, ...]:
    return tuple(Target(sparsity=value) for value in values)


def macs_pruned(sparsity: float, behind: float = 0.5) -> float:
    """Multiply-adds follow the weights, some way behind in logit."""
    return expit(logit(sparsity) - behind) if sparsity else 0.0


def state_of(
    experiment: Experiment, *runs: Run, epochs: int = 0, hours: float = 0.0
) -> SearchState:
    return SearchState(
        goal=Goal.of(experiment, PROBLEM),
        runs=runs,
        usage=Usage(runs=len(runs), epochs=epochs, hours=hours),
    )


def ended(
    number: int,
    settings: RunSettings,
    sparsity: float,
    *,
    target: Target | None = None,
    refines: Target | None = None,
    accuracy: float = 0.9,
) -> Run:
    """Return a finished run of digits, which kept its first decay."""
    clock = ThresholdClock.of(digits(), PROBLEM.steps_per_epoch, settings.onset)
    return Run(
        run_id=f"run-{number:03d}",
        settings=settings,
        target=target,
        refines=refines,
        status=Status.FINISHED,
        epoch=30,
        sparsity=sparsity,
        macs_pruned=macs_pruned(sparsity),
        score=accuracy,
        decayed=settings.first_decay * clock.total,
    )


def begun(run: Run, epoch: int = 0, *, status: Status = Status.RUNNING, **known: float) -> Run:
    """Return ``run`` as it was after one of its epochs."""
    return replace(run, epoch=epoch, status=status, **known)  # pyright: ignore[reportArgumentType]


def shared_start(experiment: Experiment, number: int = 1, *, is_whole: bool = False) -> Run:
    """Return the finished run of the epochs that all share, or of the whole dense network."""
    settings = LawSpace(experiment, PROBLEM).dense(is_whole=is_whole)
    run = ended(number, settings, 0.0, accuracy=0.99)
    folder = f"runs/{run.run_id}/epoch_00010"
    return replace(run, epoch=settings.last_epoch or 30, decayed=0.0, prefix=folder)


@dataclass(frozen=True, kw_only=True)
class PlantedRuns:
    """Runs that obey one law, whether they lead themselves or keep one decay."""

    experiment: Experiment
    problem: Problem = PROBLEM
    hardness: float = 1.0
    """``exposure_at_90``, in terms of what is expected."""
    steepness: float = FITTED.steepness_own
    late: float = 0.0
    """Exposure by which thresholds prune later than computed, in terms of what is expected."""
    scatter: float = 0.0
    """Standard deviation of the ends of runs, in logit."""
    seed: int = 0
    macs_behind: float = 0.5

    @cached_property
    def _space(self) -> LawSpace:
        return LawSpace(self.experiment, self.problem)

    def train(self, settings: RunSettings) -> Trained:
        epochs = settings.last_epoch or self.experiment.training.epochs
        if settings.is_dense:
            return Trained(epochs=(self.row(0.0, 0.0),) * epochs)
        assert settings.threshold_init is not None
        clock = ThresholdClock.of(self.experiment, self.problem.steps_per_epoch, settings.onset)
        delay = self._space.delay(settings.threshold_init) + self.late * self._space.expected
        chance = random.Random(f"{self.seed} {settings.model_dump_json(exclude={'fork'})}")
        noise = chance.gauss(0, self.scatter)
        decays: list[float] = []
        rows: list[Epoch] = []
        for epoch in range(epochs):
            decays.append(self._decay(settings, clock, decays, rows))
            exposure = clock.exposure(decays, delay)
            level = Law(steepness=self.steepness).level(
                exposure, self.hardness * self._space.expected
            )
            acts = epoch >= settings.onset
            rows.append(self.row(expit(level + noise) if acts else 0.0, decays[-1]))
        return Trained(epochs=tuple(rows))

    def _decay(
        self,
        settings: RunSettings,
        clock: ThresholdClock,
        decays: Sequence[float],
        rows: Sequence[Epoch],
    ) -> float:
        """Return what the workers of a real run set in the next epoch."""
        epoch, lead = len(rows), settings.lead
        if epoch < settings.onset:
            return 0.0
        if lead is None or not rows:
            return settings.first_decay
        leader = Leader(
            lead=lead, law=self._space.law, clock=clock, first_decay=settings.first_decay
        )
        last = rows[-1]
        pruned = (
            last.sparsity
            if lead.quantity == "sparsity"
            else 1 - last.macs / self.problem.dense_macs
        )
        return leader.next_decay(epoch, clock.exposure(decays, lead.delay), pruned)

    def row(self, sparsity: float, decay: float) -> Epoch:
        return Epoch(
            sparsity=sparsity,
            macs=round((1 - macs_pruned(sparsity, self.macs_behind)) * self.problem.dense_macs),
            accuracy=0.99 - 0.1 * sparsity**30,
            threshold_decay=decay,
        )


def planted_sweep(*overrides: str, **law: float) -> SimulatedSweep:
    """Return a sweep of digits whose runs obey ``law``; see ``PlantedRuns``."""
    experiment = digits(*overrides)
    runs = PlantedRuns(experiment=experiment, **law)  # pyright: ignore[reportArgumentType]
    return SimulatedSweep(experiment, PROBLEM, runs)

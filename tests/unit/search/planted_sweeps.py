"""Sweeps of digits without training, and runs of them as a search sees them."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import Any

from benchmarks.planted import PlantedRuns
from benchmarks.simulator import SimulatedSweep
from samples import ACCURACY, DIGITS, LATE, PROBLEM

from strsweep.config import Experiment, Problem, load_experiment
from strsweep.search.goal import Goal, Usage
from strsweep.search.runs import Run, SearchState, Status
from strsweep.search.space import LawSpace
from strsweep.settings import Fork, RunSettings, Target
from strsweep.training.law import ThresholdClock, expit, logit

CONFIGS = DIGITS.parent
IMAGENET_PROBLEM = Problem(
    steps_per_epoch=5005,
    weights=25_502_912,
    dense_macs=4_089_184_256,
    weight_scale=0.0229,
    metric=ACCURACY,
)
"""Of ResNet50."""

STORED = Fork(folder="runs/run-001/epoch_00010", epoch=10)
FORKED = LATE.model_copy(update={"fork": STORED})
OWN_RANGE = (
    "search.led=false",
    "search.threshold_init=-10",
    "search.threshold_decay=[4e-3, 2.4e-2]",
)
SHARED_LED = ("search.decay=shared", "search.weight_decay=auto")
PUBLISHED = ("search.decay=shared", "search.led=false", "search.threshold_init=-10")
SHARED_RANGE = (*PUBLISHED, "search.weight_decay=[4e-3, 2.4e-2]")
STEERED = ("sparsity.mode=steered", "search.weight_decay=1e-4")
GMP = ("sparsity.mode=gmp", "sparsity.budget=uniform", "search.weight_decay=1e-4")

_ASKED = ("search.targets=[0.80, 0.90, 0.95, 0.98]", "search.max_runs=40")
"""Whatever the example file shows."""


@cache
def digits(*overrides: str) -> Experiment:
    return load_experiment(DIGITS, [*_ASKED, *overrides])


def clock_by_hand(epoch: int, onset: int) -> float:
    """Return what ``epoch``, from 1, adds: its learning rates, times momentum as it builds up."""
    return math.fsum(
        0.05 * (1 + math.cos(math.pi * step / 330)) * (1 - 0.9 ** (step - 11 * onset + 1)) / 0.1
        for step in range(11 * (epoch - 1), 11 * epoch)
    )


def sparsities(*values: float) -> tuple[Target, ...]:
    return tuple(Target(sparsity=value) for value in values)


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
        macs_pruned=expit(logit(sparsity) - 0.5) if sparsity else 0.0,
        score=accuracy,
        decayed=settings.first_decay * clock.total,
    )


def begun(run: Run, epoch: int = 0, *, status: Status = Status.RUNNING, **known: Any) -> Run:
    """Return ``run`` as it was after one of its epochs."""
    return replace(run, epoch=epoch, status=status, **known)


def shared_start(experiment: Experiment, number: int = 1, *, is_whole: bool = False) -> Run:
    """Return the finished run of the epochs that all share, or of the whole dense network."""
    settings = LawSpace(experiment, PROBLEM).dense(is_whole=is_whole)
    run = ended(number, settings, 0.0, accuracy=0.99)
    folder = f"runs/{run.run_id}/epoch_00010"
    return replace(run, epoch=settings.last_epoch or 30, decayed=0.0, prefix=folder)


def planted_sweep(*overrides: str, **law: Any) -> SimulatedSweep:
    """Return a sweep of digits whose runs obey ``law``; see ``PlantedRuns``."""
    experiment = digits(*overrides)
    runs = PlantedRuns(experiment=experiment, problem=PROBLEM, **law)
    return SimulatedSweep(experiment, PROBLEM, runs)

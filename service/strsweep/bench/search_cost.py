"""What a method trained, what it paid for it in epochs, and what it hit."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from strsweep.bench.search_problems import TARGETS, TOLERANCE
from strsweep.bench.search_runs import Landed, RecordedRun, Runs
from strsweep.config import RunSettings


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a method was compared."""

    problem: str
    seed: int
    epochs_full_run: int


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What a method has for one target."""

    target: float
    run: RecordedRun
    """The run that is delivered, or the nearest one."""
    is_hit: bool
    landed: Landed | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method on one problem with one seed. Sparsities, misses and accuracies are fractions."""

    problem: str
    method: str
    seed: int
    targets: tuple[float, ...]
    runs: int
    """Begun; a run that was stopped and resumed counts once."""
    epochs_total: int
    epochs_full_run: int
    cost_per_target: float | None
    """In full runs; None for what is no search."""
    targets_hit: int
    worst_miss_before_landing: float | None
    worst_miss_after: float | None
    """None where nothing was landed."""
    accuracies_before_landing: tuple[float | None, ...]
    """By target; None where nothing was trained near it."""
    accuracies: tuple[float | None, ...]
    """As delivered: landed if the method lands."""


class Ledger:
    """Trains for a method that knows whole runs only, and keeps its account.

    A setting that was trained already is not paid for again.

    Args:
        runs: Of one problem and seed.
        threshold_init: Of all runs.
    """

    def __init__(self, runs: Runs, threshold_init: float) -> None:
        self._runs, self._threshold_init = runs, threshold_init
        self.trained: dict[float, RecordedRun] = {}
        """By weight decay, in the order of training."""

    def train(self, weight_decay: float) -> float:
        """Train one run in full and return its final sparsity."""
        weight_decay = float(f"{weight_decay:.6g}")
        if weight_decay not in self.trained:
            settings = RunSettings(threshold_init=self._threshold_init, weight_decay=weight_decay)
            self.trained[weight_decay] = self._runs.at(settings)
        return self.trained[weight_decay].final

    @property
    def epochs(self) -> int:
        """Epochs that were paid for."""
        return sum(run.epochs for run in self.trained.values())

    def is_hit(self, target: float) -> bool:
        """Tell whether some run is within the tolerance of ``target``."""
        return any(is_near(run, target) for run in self.trained.values())

    @property
    def open_targets(self) -> list[float]:
        """The targets that no run hits, rising."""
        return [target for target in TARGETS if not self.is_hit(target)]

    def deliveries(self) -> list[Delivery]:
        """Return the nearest run of every target."""
        return [
            Delivery(
                target=target,
                run=min(self.trained.values(), key=lambda run: abs(run.final - target)),
                is_hit=self.is_hit(target),
            )
            for target in TARGETS
        ]


def is_near(run: RecordedRun, target: float) -> bool:
    """Tell whether ``run`` ends within the tolerance of ``target``."""
    return abs(run.final - target) <= TOLERANCE


def row(
    place: Place, method: str, deliveries: Sequence[Delivery], *, runs: int, epochs: int
) -> Row:
    """Return the account of a search."""
    landed = [delivery.landed for delivery in deliveries if delivery.landed is not None]
    return Row(
        problem=place.problem,
        method=method,
        seed=place.seed,
        targets=tuple(delivery.target for delivery in deliveries),
        runs=runs,
        epochs_total=epochs,
        epochs_full_run=place.epochs_full_run,
        cost_per_target=epochs / place.epochs_full_run / len(deliveries),
        targets_hit=sum(delivery.is_hit for delivery in deliveries),
        worst_miss_before_landing=max(abs(d.run.final - d.target) for d in deliveries),
        worst_miss_after=(
            max(abs(end.sparsity - end.target) for end in landed)
            if len(landed) == len(deliveries)
            else None
        ),
        accuracies_before_landing=tuple(d.run.accuracy[-1] for d in deliveries),
        accuracies=tuple(
            d.run.accuracy[-1] if d.landed is None else d.landed.accuracy for d in deliveries
        ),
    )


def yardstick(place: Place, trained: Iterable[RecordedRun]) -> Row:
    """Return the mean accuracy of all STR runs that end near each target, as they ended.

    Whatever searched them, they are plain STR with one weight decay: what corrections, landing and
    steering must not fall below.
    """
    searched = [run for run in trained if run.told is None and not run.corrections]
    near = [[run.accuracy[-1] for run in searched if is_near(run, t)] for t in TARGETS]
    accuracies = tuple(statistics.mean(found) if found else None for found in near)
    return Row(
        problem=place.problem,
        method="plain",
        seed=place.seed,
        targets=TARGETS,
        runs=sum(map(len, near)),
        epochs_total=0,
        epochs_full_run=place.epochs_full_run,
        cost_per_target=None,
        targets_hit=sum(map(bool, near)),
        worst_miss_before_landing=None,
        worst_miss_after=None,
        accuracies_before_landing=accuracies,
        accuracies=accuracies,
    )

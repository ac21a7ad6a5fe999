"""What a search is asked, what it knows, and what it can decide: plain values."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from strsweep.config import Correction, Experiment, Problem, Quantity, Target
from strsweep.sweep.window import Window

AT_END = 1e-3
"""A run nearer than this to an end of the path is at that end."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is asked of a search."""

    targets: tuple[Target, ...]
    dense_macs: int
    """Multiply-adds of the dense network: what absolute targets are a share of."""
    tolerance: float
    epochs: int
    """Of one run."""
    max_runs: int
    max_epochs: int | None = None
    max_hours: float | None = None
    refine: int = 0
    corrects: bool = True
    """Runs may go on with another weight decay."""
    checkpoint_every: int = 1
    """Epochs."""
    searched: str = "search.weight_decay"
    """The setting whose range decides what can be reached."""

    @classmethod
    def of(cls, experiment: Experiment, problem: Problem) -> Goal:
        """Return what ``experiment`` asks for.

        Raises:
            SettingError: A target is not below what the dense network has.
        """
        search = experiment.search
        for target in search.targets:
            target.pruned(problem.dense_macs)
        by_decay = isinstance(search.weight_decay, tuple)
        return cls(
            targets=search.targets,
            dense_macs=problem.dense_macs,
            tolerance=search.tolerance,
            epochs=experiment.training.epochs,
            max_runs=search.max_runs,
            max_epochs=search.max_epochs,
            max_hours=search.max_hours,
            refine=search.refine,
            corrects=search.correct and experiment.sparsity.threshold_decay is None,
            checkpoint_every=experiment.training.checkpoint_every,
            searched="search.weight_decay" if by_decay else "search.threshold_init",
        )

    def pruned(self, target: Target) -> float:
        """Return the share that ``target`` wants pruned, of weights or multiply-adds."""
        return target.pruned(self.dense_macs)

    def window(self, target: Target) -> Window:
        """Return where a run must end to be delivered for ``target``."""
        return Window.around(self.pruned(target), self.tolerance)

    def hits(self, run: FinishedRun, target: Target) -> bool:
        """Tell whether ``run`` can be delivered for ``target``."""
        return run.pruned(target.quantity) in self.window(target)

    def miss(self, run: FinishedRun, target: Target) -> float:
        """Return how much more than wanted ``run`` has pruned, as a fraction."""
        return run.pruned(target.quantity) - self.pruned(target)


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run whose final sparsity is known."""

    run_id: str
    position: float
    """On the search path; in [0, 1] unless it comes from other ranges."""
    sparsity: float
    accuracy: float
    macs_pruned: float = 0.0
    """Share of the dense network's multiply-adds that is gone."""
    target: Target | None = None
    """What it aimed at."""
    trajectory: tuple[Snapshot, ...] = ()
    threshold_init: float | None = None
    """Set if it is another than the path has at ``position``, which is then that of its drive."""
    refines: Target | None = None
    """The target whose accuracy it was to better."""
    began_at: float | None = None
    """The position it had before a correction; None: it was not corrected."""

    @property
    def is_on_path(self) -> bool:
        """Tell whether it has the settings of its position."""
        return self.threshold_init is None

    def pruned(self, quantity: Quantity) -> float:
        """Return the share that is pruned, of weights or multiply-adds."""
        return self.sparsity if quantity == "sparsity" else self.macs_pruned


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A run after one of its epochs."""

    epoch: int
    """From 1."""
    drive: float
    """That the run has come to."""
    sparsity: float
    macs_pruned: float

    def pruned(self, quantity: Quantity) -> float:
        """Return the share that is pruned, of weights or multiply-adds."""
        return self.sparsity if quantity == "sparsity" else self.macs_pruned


@dataclass(frozen=True, kw_only=True)
class UnfinishedRun:
    """A run under way, or one that was stopped early and can go on."""

    run_id: str
    position: float
    target: Target | None
    """What it aims at; None: it explores."""
    trajectory: tuple[Snapshot, ...] = ()
    is_running: bool = True
    threshold_init: float | None = None
    """As of ``FinishedRun``, as are the next two."""
    refines: Target | None = None
    began_at: float | None = None

    @property
    def epochs(self) -> int:
        """Epochs that are done."""
        return self.trajectory[-1].epoch if self.trajectory else 0


@dataclass(frozen=True, kw_only=True)
class FailedRun:
    """A run that left no result."""

    position: float
    target: Target | None
    """What it aimed at."""
    threshold_init: float | None = None
    """As of ``FinishedRun``."""
    refines: Target | None = None
    would_again: bool = True
    """It failed by its settings, not by a machine."""


@dataclass(frozen=True, kw_only=True)
class Spent:
    """What the sweep has cost so far."""

    runs: int
    """Proposed: finished, running, stopped and failed ones."""
    epochs: int = 0
    hours: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Propose:
    """Train a new run at ``position``."""

    position: float
    target: Target | None
    reason: str
    forecast: tuple[float, float] | None = None
    """Share that is expected to be pruned, a standard deviation either way."""
    threshold_init: float | None = None
    """Set if the run leaves the path: the drive of ``position`` with another first threshold."""
    refines: Target | None = None
    """Set if the run is for accuracy at a target that is hit already."""


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Let a run that was stopped early go on."""

    run_id: str
    target: Target | None
    reason: str
    correction: Correction | None = None
    """Another weight decay for the rest of it."""


@dataclass(frozen=True)
class Wait:
    """Nothing worth starting until a run under way has finished."""


@dataclass(frozen=True)
class Finish:
    """The search is over."""

    reason: str


Decision = Propose | Resume | Wait | Finish


def open_targets(goal: Goal, finished: Sequence[FinishedRun]) -> list[Target]:
    """Return the targets that no finished run hits, in the order they were given."""
    quantities: set[Quantity] = {target.quantity for target in goal.targets}
    shares = {each: sorted(run.pruned(each) for run in finished) for each in quantities}
    return [
        target
        for target in goal.targets
        if not _has_one_in(goal.window(target), shares[target.quantity])
    ]


def _has_one_in(window: Window, rising: Sequence[float]) -> bool:
    nearest = bisect_left(rising, window.low)
    return nearest < len(rising) and rising[nearest] in window

"""What a sweep is requested to find: targets, where runs may end, and what may be spent."""

from __future__ import annotations

from dataclasses import dataclass

from strsweep.config import Experiment, Problem, SearchConfig
from strsweep.settings import Target
from strsweep.training import law


@dataclass(frozen=True)
class Window:
    """Pruned shares from ``low`` to ``high``, both included."""

    low: float
    high: float

    @classmethod
    def around(cls, pruned: float, tolerance: float | None) -> Window:
        """Return the window around a wanted share.

        Below it landing prunes more of what the run kept, which costs quality: at most
        ``Fitted.largest_cut`` of that. Above it landing gives weights back, which costs nothing but
        does not make up for what the run lacks: it must have kept ``Fitted.least_kept`` of them.

        Args:
            pruned: Wanted share, of weights or multiply-adds, in (0, 1).
            tolerance: Largest distance, as a fraction; None: as far as landing is harmless.
        """
        kept = 1 - pruned
        low = max(1 - kept / (1 - law.FITTED.largest_cut), 0.0)
        high = 1 - kept * law.FITTED.least_kept
        if tolerance is None:
            return cls(low=low, high=high)
        return cls(low=max(pruned - tolerance, low), high=min(pruned + tolerance, high))

    def __contains__(self, share: float) -> bool:
        return self.low <= share <= self.high


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the sweep has cost so far."""

    runs: int
    """Proposed: finished, running, stopped and failed ones."""
    epochs: int = 0
    hours: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ExceededLimit:
    """A setting that forbids another run."""

    setting: str
    value: float
    state: str

    def __str__(self) -> str:
        return f"{self.setting} ({self.value:.10g}) {self.state}"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What a search is to find."""

    search: SearchConfig
    """Targets, tolerance and limits."""
    problem: Problem
    """What targets are a share of, and what models are judged by."""
    epochs: int
    """Of one run."""

    @classmethod
    def of(cls, experiment: Experiment, problem: Problem) -> Goal:
        """Return what ``experiment`` requests.

        Raises:
            SettingError: A target is not below what the dense network has.
        """
        for target in experiment.search.targets:
            problem.pruned(target)
        return cls(search=experiment.search, problem=problem, epochs=experiment.training.epochs)

    @property
    def targets(self) -> tuple[Target, ...]:
        """The wanted models, in the order they were given."""
        return self.search.targets

    def pruned(self, target: Target) -> float:
        """Return the share that ``target`` wants pruned, of what it is measured in."""
        return self.problem.pruned(target)

    def window(self, target: Target) -> Window:
        """Return where a run must end to be delivered for ``target``."""
        tolerance = self.search.tolerance
        return Window.around(self.pruned(target), None if tolerance == "auto" else tolerance)

    def out_of_time(self, usage: Usage) -> ExceededLimit | None:
        """Return ``search.max_hours`` if it is over."""
        hours = self.search.max_hours
        if hours is None or usage.hours < hours:
            return None
        return ExceededLimit(setting="search.max_hours", value=hours, state="is over")

    def exceeded(self, usage: Usage, promised: int, needed: int) -> ExceededLimit | None:
        """Return the limit that forbids another run; None if none does.

        ``promised`` epochs are still needed by the runs under way, ``needed`` ones by the other
        run, which is begun only if it can end.
        """
        runs, epochs = self.search.max_runs, self.search.max_epochs
        if usage.runs >= runs:
            return ExceededLimit(setting="search.max_runs", value=runs, state="is spent")
        if epochs is not None and usage.epochs + promised + needed > epochs:
            state = "leaves no room for another run"
            return ExceededLimit(setting="search.max_epochs", value=epochs, state=state)
        return self.out_of_time(usage)

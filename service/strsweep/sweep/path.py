"""The line through the settings along which sparsity rises."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from strsweep.config import Experiment, Range, RunSettings, SearchConfig


class Path(Protocol):
    """Maps a position in [0, 1] to settings and back; more is sparser."""

    @property
    def is_point(self) -> bool:
        """True if there is nothing to choose."""
        ...

    def at(self, position: float) -> RunSettings:
        """Return the settings at ``position``."""
        ...

    def locate(self, settings: RunSettings) -> float:
        """Return the position of settings that ``at`` gave."""
        ...


def path_of(experiment: Experiment) -> Path:
    """Return the path that the method of ``experiment`` moves on."""
    if experiment.sparsity.mode == "str":
        return SearchPath.of(experiment.search)
    assert not isinstance(experiment.search.weight_decay, tuple)
    told = experiment.sparsity.mode == "steered" or isinstance(experiment.sparsity.budget, str)
    return BudgetPath(experiment.search.weight_decay, is_point=not told)


@dataclass(frozen=True)
class BudgetPath:
    """For modes that are told their sparsity: the position is the sparsity."""

    weight_decay: float
    is_point: bool
    """True if the budget is given layer by layer, or nothing is pruned."""

    def at(self, position: float) -> RunSettings:
        """Return the settings of a run whose budget has the sparsity ``position``."""
        return RunSettings(
            weight_decay=self.weight_decay, sparsity=None if self.is_point else position
        )

    def locate(self, settings: RunSettings) -> float:
        """Return the sparsity of the budget."""
        return settings.sparsity or 0.0


@dataclass(frozen=True)
class SearchPath:
    """Maps a position in [0, 1] to settings, from the least to the most sparse corner.

    More weight decay and a higher threshold init both give more sparsity (appendix A.6), so it
    rises along the diagonal of the box, taken in log(weight decay) and log(-threshold init). With
    one of the two fixed this is the plain range of the other.
    """

    threshold_init: Range
    weight_decay: Range

    @classmethod
    def of(cls, search: SearchConfig) -> SearchPath:
        """Return the path through the ranges of ``search``; a number is a range of no width."""
        assert search.threshold_init is not None
        return cls(_range(search.threshold_init), _range(search.weight_decay))

    @property
    def is_point(self) -> bool:
        """True if both settings are fixed: there is nothing to search."""
        return not (_width(self.threshold_init) or _width(self.weight_decay))

    def at(self, position: float) -> RunSettings:
        """Return the settings at ``position``; searched ones have six significant digits."""
        low, high = self.threshold_init
        return RunSettings(
            threshold_init=-_between(-low, -high, position),
            weight_decay=_between(*self.weight_decay, position),
        )

    def locate(self, settings: RunSettings) -> float:
        """Return the position of settings that ``at`` gave."""
        if _width(self.weight_decay):
            return _share(*self.weight_decay, settings.weight_decay)
        low, high = self.threshold_init
        assert settings.threshold_init is not None
        return _share(-low, -high, -settings.threshold_init)


def _range(value: float | Range) -> Range:
    return value if isinstance(value, tuple) else (value, value)


def _width(ends: Range) -> float:
    return ends[1] - ends[0]


def _between(low: float, high: float, position: float) -> float:
    if low == high:  # also the only case in which weight decay may be 0
        return low
    between = math.exp(math.log(low) + position * (math.log(high) - math.log(low)))
    return float(f"{between:.6g}")


def _share(low: float, high: float, value: float) -> float:
    return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))

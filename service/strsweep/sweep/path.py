"""The line through the search ranges along which sparsity rises."""

from __future__ import annotations

import math
from dataclasses import dataclass

from strsweep.config import Range, RunSettings, SearchConfig


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

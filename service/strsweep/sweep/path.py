"""The line through the settings along which sparsity rises."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from scipy.optimize import brentq

from strsweep.config import Experiment, Problem, Range, RunSettings
from strsweep.sweep.clock import DecayClock, FloatArray

_BEYOND = 20.0
"""How far outside [0, 1] runs of other ranges are still told apart: ranges may be narrow."""
_LARGEST = 700.0
"""Exponent: so far beyond a range of very many powers of ten there are no settings."""
_PLACES = np.unique(
    np.concatenate([np.linspace(-_BEYOND, 1 + _BEYOND, 411), np.linspace(-3.0, 2.0, 201)])
)
"""Where a run may be on its way to its own place: early in training far below the path."""


@dataclass(frozen=True)
class SearchPath:
    """Maps a position in [0, 1] to settings, from the least to the most sparse corner.

    More weight decay and a higher threshold init both give more sparsity (appendix A.6), so it
    rises along the diagonal of the box, taken in log(weight decay) and log(-threshold init). With
    one of the two fixed this is the plain range of the other.
    """

    threshold_init: Range
    weight_decay: Range
    clock: DecayClock

    @classmethod
    def of(cls, experiment: Experiment, problem: Problem) -> SearchPath:
        """Return the path through the ranges of an STR sweep; a number is a range of no width."""
        search = experiment.search
        return cls(
            _range(search.threshold_init),
            _range(search.weight_decay),
            DecayClock.of(experiment, problem),
        )

    def at(self, position: float) -> RunSettings:
        """Return the settings at ``position``; searched ones have six significant digits."""
        low, high = self.threshold_init
        return RunSettings(
            threshold_init=-_between(-low, -high, position),
            weight_decay=_between(*self.weight_decay, position),
        )

    def off_path(self, position: float, threshold_init: float) -> RunSettings | None:
        """Return settings of the same drive with another threshold init; None if there are none."""
        decay = self.clock.weight_decay_for(self.drive_at(position), threshold_init)
        if not decay > 0 or self.clock.threshold_decay is not None:
            return None
        return RunSettings(threshold_init=threshold_init, weight_decay=float(f"{decay:.6g}"))

    def contains(self, settings: RunSettings) -> bool:
        """Tell whether ``settings`` lie on the path, as they were before any correction."""
        on_path = self.at(self._share(settings))
        first, decay = settings.threshold_init, settings.weight_decay
        assert first is not None
        assert on_path.threshold_init is not None
        return math.isclose(on_path.threshold_init, first, rel_tol=1e-4) and math.isclose(
            on_path.weight_decay, decay, rel_tol=1e-4
        )

    def locate(self, settings: RunSettings) -> float:
        """Return the position of settings that ``at`` gave, or that of the same drive."""
        if self.contains(settings) and not settings.corrections:
            return self._share(settings)
        wanted = self.clock.drive_after(settings, len(self.clock.epochs))
        return self.place_of(wanted, (-_BEYOND, 1 + _BEYOND))

    def place_of(self, drive: float, ends: Range = (0.0, 1.0)) -> float:
        """Return the position with ``drive``, or the nearer one of ``ends``."""
        low, high = ends
        if drive <= self.drive_at(low):
            return low
        if drive >= self.drive_at(high):
            return high
        place: Any = brentq(lambda place: self.drive_at(place) - drive, low, high)
        return float(place)

    def reached(self, drives: FloatArray) -> FloatArray:
        """Return the places whose runs end with ``drives``, for runs in their middle.

        NaN: there is none that is told apart, as where nothing that is searched changes the drive.
        """
        if self._table[0] == self._table[-1]:
            return np.full(drives.shape, np.nan)
        return np.interp(drives, self._table, _PLACES, left=np.nan, right=np.nan)

    @cached_property
    def _table(self) -> FloatArray:
        return self.drives(_PLACES)

    def drives(self, positions: FloatArray) -> FloatArray:
        """Return the drive at every position; it rises. Asked again, it is not computed again."""
        return _drives(self, np.asarray(positions, dtype=np.float64).tobytes())

    def drive_at(self, position: float) -> float:
        """Return the drive at one position, which may lie outside of [0, 1]."""
        return self.clock.drive(self._first(position), _exact(*self.weight_decay, position))

    def _first(self, position: float) -> float:
        low, high = self.threshold_init
        return -_exact(-low, -high, position)

    def _share(self, settings: RunSettings) -> float:
        low, high = self.threshold_init
        assert settings.threshold_init is not None
        if _width(self.weight_decay) > _width((-high, -low)):  # the wider tells it best
            return _share(*self.weight_decay, settings.weight_decay)
        return _share(-low, -high, -settings.threshold_init)


@lru_cache(maxsize=64)
def _drives(path: SearchPath, positions: bytes) -> FloatArray:
    drives = np.asarray([path.drive_at(place) for place in np.frombuffer(positions).tolist()])
    drives.flags.writeable = False  # whoever asks gets the same one
    return drives


def _range(value: object) -> Range:
    if isinstance(value, tuple):
        low, high = value
        return float(low), float(high)
    assert isinstance(value, float | int), "auto is resolved before a path is made"
    return float(value), float(value)


def _width(ends: Range) -> float:
    return 0.0 if ends[0] == ends[1] else math.log(ends[1] / ends[0])


def _between(low: float, high: float, position: float) -> float:
    if low == high:
        return low
    return float(f"{_exact(low, high, position):.6g}")


def _exact(low: float, high: float, position: float) -> float:
    if low == high:  # also the only case in which weight decay may be 0
        return low
    exponent = math.log(low) + position * (math.log(high) - math.log(low))
    return math.exp(min(exponent, _LARGEST))


def _share(low: float, high: float, value: float) -> float:
    if value <= 0:
        return -_BEYOND
    return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))

"""Sparsity as a rising curve of the position on the search path, learned from finished runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator
from sklearn.isotonic import IsotonicRegression

FloatArray = npt.NDArray[np.float64]

SATURATION = 1e-4
"""Sparsities closer than this to 0 or 1 carry no slope; the logit is cut off there."""


def logit(sparsity: float) -> float:
    """Return log(p / (1 - p)), with p kept ``SATURATION`` away from 0 and 1."""
    inside = min(max(sparsity, SATURATION), 1 - SATURATION)
    return float(np.log(inside / (1 - inside)))


class SparsityCurve:
    """A rising curve of logit(sparsity) through observed runs.

    Runs that contradict each other, by noise, are averaged (isotonic regression); in between the
    curve is a monotone cubic. All targets share it, so every run teaches about every target.

    Args:
        positions: Of the runs on the search path; at least one.
        sparsities: Of the same runs.
    """

    def __init__(self, positions: Sequence[float], sparsities: Sequence[float]) -> None:
        order = np.argsort(positions, kind="stable")
        x = np.asarray(positions, dtype=np.float64)[order]
        y = np.asarray([logit(value) for value in sparsities], dtype=np.float64)[order]
        self._x, self._y = _rising_knots(x, IsotonicRegression().fit_transform(x, y))

    @property
    def is_flat(self) -> bool:
        """True if the runs show no rise, so that nothing can be aimed at."""
        return len(self._x) < 2

    def position_of(self, sparsity: float) -> float:
        """Return where the curve reaches ``sparsity``; beyond the runs it goes on as a line.

        The result can lie outside [0, 1].
        """
        assert not self.is_flat
        level = logit(sparsity)
        if level <= self._y[0]:
            return self._beyond(level, 0, 1)
        if level >= self._y[-1]:
            return self._beyond(level, -1, -2)
        return float(PchipInterpolator(self._y, self._x)(level))

    def _beyond(self, level: float, end: int, neighbour: int) -> float:
        slope = (self._x[neighbour] - self._x[end]) / (self._y[neighbour] - self._y[end])
        return float(self._x[end] + slope * (level - self._y[end]))


def _rising_knots(x: FloatArray, level: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Replace every stretch of equal levels by its middle, so that the curve can be inverted."""
    # Isotonic regression leaves rounding errors between levels that are equal.
    levels, block = np.unique(np.round(level, 9), return_inverse=True)
    middles = np.bincount(block, weights=x) / np.bincount(block)
    return middles, levels

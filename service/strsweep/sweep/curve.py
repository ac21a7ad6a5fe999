"""A smooth rising curve with its uncertainty, learned from noisy observations.

The search uses two kinds: pruned share over the position on the search path, and the final pruned
share over the one in the middle of training. Shares are looked at through the logit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import norm

FloatArray = npt.NDArray[np.float64]
Mean = Callable[[FloatArray], FloatArray]

SATURATION = 1e-4
"""Shares closer than this to 0 or 1 carry no slope; the logit is cut off there."""
_NOISES = (0.02, 0.04, 0.08, 0.16, 0.32)
_NOISE_PRIOR = (0.05, 0.7)
"""Of one run, in logit: median, and spread of its logarithm. Runs of one seed differ by 0.02 to
0.04 on digits, seeds by 0.1."""
_BINS = 128
"""Observations nearer than this share of the range are averaged: a thousand runs cost no more."""


def logit(share: float) -> float:
    """Return log(p / (1 - p)), with p kept ``SATURATION`` away from 0 and 1."""
    inside = min(max(share, SATURATION), 1 - SATURATION)
    return float(np.log(inside / (1 - inside)))


def expit(level: float) -> float:
    """Return the share whose logit is ``level``."""
    return float(1 / (1 + np.exp(-level)))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What is believed of a curve before anything was observed.

    It is one of ``means`` plus an offset, a tilt and bends, each unknown with the spread given here.
    """

    means: tuple[tuple[Mean, float], ...]
    """Curves that it may be near to, each with the logarithm of its prior probability."""
    offset: float
    tilt: float
    """Per unit of x."""
    bends: tuple[float, ...]
    """Change of slope over a unit of x; which of these fits is learned."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Levels with their standard deviations, one per place asked for."""

    mean: FloatArray
    curve_sd: FloatArray
    """How well the curve is known."""
    noise: float
    """Standard deviation of a single run around the curve."""

    @property
    def sd(self) -> FloatArray:
        """Standard deviation of what a new run would give."""
        return np.hypot(self.curve_sd, self.noise)

    def probability(self, low: float, high: float) -> FloatArray:
        """Return the probability that a new run ends between two levels."""
        upper: FloatArray = norm.cdf((high - self.mean) / self.sd)
        return upper - norm.cdf((low - self.mean) / self.sd)


class SmoothCurve:
    """A Gaussian process over an interval: a cubic smoothing spline that knows its error.

    Noise and bending are chosen by marginal likelihood from a few values, so that a handful of
    observations is enough and nothing has to be tuned.

    Args:
        shape: What is believed before.
        x: Where something was observed; may be empty.
        y: What was observed there, as levels.
        extra_sd: Standard deviation of each beyond the noise of a run: 0 for finished runs, the
            error of the forecast for unfinished ones.
    """

    def __init__(
        self,
        shape: Shape,
        x: Sequence[float] = (),
        y: Sequence[float] = (),
        extra_sd: Sequence[float] = (),
    ) -> None:
        self._shape = shape
        observed = np.asarray([x, y, extra_sd or [0.0] * len(x)], dtype=np.float64)
        places, levels, extra = _averaged(*observed)
        self._x, self._extra = places, extra
        self._origin = float(min(places, default=0.0)) - 1.0
        self._y = levels
        fits = [self._fit(noise, bend) for noise, bend in product(_NOISES, shape.bends)]
        self.noise, self._bend, self._mean, _ = max(fits, key=lambda fit: fit[-1])
        self._factor = self._factorized(self.noise, self._bend)
        self._residual = levels - self._mean(places)

    def predict(self, x: FloatArray) -> Prediction:
        """Return the levels at ``x``; the mean rises with ``x``, which must be sorted."""
        prior = self._kernel(x, x, self._bend).diagonal()
        if not len(self._x):
            return Prediction(mean=self._mean(x), curve_sd=np.sqrt(prior), noise=self.noise)
        cross = self._kernel(x, self._x, self._bend)
        mean = self._mean(x) + cross @ cho_solve(self._factor, self._residual)
        explained = np.einsum("ij,ji->i", cross, cho_solve(self._factor, cross.T))
        return Prediction(
            mean=np.maximum.accumulate(mean),
            curve_sd=np.sqrt(np.maximum(prior - explained, 0.0)),
            noise=self.noise,
        )

    def _kernel(self, x: FloatArray, z: FloatArray, bend: float) -> FloatArray:
        shape = self._shape
        left, right = x[:, None] - self._origin, z[None, :] - self._origin
        least = np.minimum(left, right)
        spline = np.abs(left - right) * least**2 / 2 + least**3 / 3  # integrated Wiener process
        middle = self._origin + 1.0
        line = (x[:, None] - middle) * (z[None, :] - middle)
        return shape.offset**2 + shape.tilt**2 * line + bend**2 * spline

    def _factorized(self, noise: float, bend: float) -> tuple[FloatArray, bool]:
        covariance = self._kernel(self._x, self._x, bend)
        covariance[np.diag_indices_from(covariance)] += noise**2 + self._extra**2
        return cho_factor(covariance, lower=True)

    def _fit(self, noise: float, bend: float) -> tuple[float, float, Mean, float]:
        """Return the best mean for this noise and bend, and how likely all three are."""
        median, spread = _NOISE_PRIOR
        belief = -0.5 * (np.log(noise / median) / spread) ** 2
        factor = self._factorized(noise, bend) if len(self._x) else None
        best: tuple[Mean, float] | None = None
        for mean, prior in self._shape.means:
            likelihood = belief + prior
            if factor is not None:
                residual = self._y - mean(self._x)
                likelihood -= 0.5 * residual @ cho_solve(factor, residual)
                likelihood -= np.log(factor[0].diagonal()).sum()
            if best is None or likelihood > best[1]:
                best = mean, float(likelihood)
        assert best is not None
        return noise, bend, *best


def _averaged(
    x: FloatArray, y: FloatArray, extra: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Merge observations at nearly the same place, the certain ones first."""
    if len(x) <= _BINS:
        return x, y, extra
    span = float(np.ptp(x)) or 1.0
    cell = np.round((x - x.min()) / span * _BINS).astype(np.int64)
    weight = 1 / (_NOISE_PRIOR[0] ** 2 + extra**2)
    total = np.bincount(cell, weight)
    used = total > 0
    merged = [np.bincount(cell, weight * value)[used] / total[used] for value in (x, y)]
    left = np.sqrt(np.maximum(1 / total[used] - _NOISE_PRIOR[0] ** 2, 0.0))
    return merged[0], merged[1], left

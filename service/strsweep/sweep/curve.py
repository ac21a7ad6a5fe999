"""A smooth rising curve with its uncertainty, learned from noisy observations.

The search uses two kinds: pruned share over the position on the search path, and the final pruned
share over the one in the middle of training. Shares are looked at through the logit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve
from scipy.special import ndtr

FloatArray = npt.NDArray[np.float64]

SATURATION = 1e-4
"""Shares closer than this to 0 or 1 carry no slope; the logit is cut off there."""
_NOISES = (0.02, 0.04, 0.08, 0.16, 0.32)
_NOISE_MEDIAN, _NOISE_SPREAD = 0.05, 0.7
"""Of one run, in logit: what is believed before. Runs of one seed scatter by 0.02 to 0.04 on
digits, seeds by 0.1."""
_NEGLIGIBLE = 1e-2
"""Posterior probability below which a choice of noise and ripple is left out."""
_BINS = 100
"""Observations nearer than this part of their range are averaged: a thousand cost no more."""


def logit(share: float) -> float:
    """Return log(p / (1 - p)), with p kept ``SATURATION`` away from 0 and 1."""
    inside = min(max(share, SATURATION), 1 - SATURATION)
    return math.log(inside / (1 - inside))


def expit(level: float) -> float:
    """Return the share whose logit is ``level``."""
    return 1 / (1 + math.exp(-level)) if level > -700 else 0.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What is believed of a curve before anything was observed.

    It is one of some candidates plus an offset, a tilt and a ripple, which are unknown.
    """

    candidates: Callable[[FloatArray], FloatArray]
    """Maps x, shape [n], to the levels of all candidates there, shape [n, candidates]."""
    priors: FloatArray
    """Logarithm of the prior probability of every candidate, up to a constant."""
    offset: float
    """Standard deviation."""
    tilt: float
    """Standard deviation, per unit of x."""
    ripples: tuple[tuple[float, float], ...]
    """Standard deviations, one of which fits best, with the logarithm of its prior probability."""
    length: float
    """Distance in x over which a ripple changes."""


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
        return ndtr((high - self.mean) / self.sd) - ndtr((low - self.mean) / self.sd)


@dataclass(frozen=True)
class _Parts:
    """A covariance: of offset and tilt, and of a ripple with the standard deviation 1."""

    trend: FloatArray
    matern: FloatArray

    def with_ripple(self, ripple: float) -> FloatArray:
        return self.trend + ripple**2 * self.matern


class SmoothCurve:
    """A Gaussian process that knows its error.

    Noise, ripple and candidate are not chosen but averaged over, by their posterior probabilities:
    a handful of observations is enough, and what they leave open shows in the error.

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
        self._x, self._y, self._extra = _averaged(*observed)
        self._middle = float(self._x.mean()) if len(self._x) else 0.0
        self._residuals = self._y[:, None] - shape.candidates(self._x)
        self._parts = self._kernel_parts(self._x)
        self._choices = [(noise, *ripple) for noise, ripple in product(_NOISES, shape.ripples)]
        likelihoods = np.stack([self._likelihoods(*choice) for choice in self._choices])
        weights = np.exp(likelihoods - likelihoods.max())
        self._weights = weights / weights.sum()

    def predict(self, x: FloatArray) -> Prediction:
        """Return the levels at ``x``; the mean rises with ``x``, which must be sorted."""
        candidates, parts = self._shape.candidates(x), self._kernel_parts(x)
        mean = square = curve = noise_variance = 0.0
        for (noise, ripple, _), weights in zip(self._choices, self._weights, strict=True):
            share = float(weights.sum())
            if share < _NEGLIGIBLE:
                continue
            means, variance = self._posterior(x, candidates, parts, noise, ripple)
            mean = mean + means @ weights
            square = square + means**2 @ weights
            curve = curve + variance * share
            noise_variance += noise**2 * share
        total = self._weights.sum(axis=1)
        kept = float(total[total >= _NEGLIGIBLE].sum())
        mean, square, curve = mean / kept, square / kept, curve / kept
        spread = np.maximum(square - mean**2, 0.0)
        return Prediction(
            mean=np.maximum.accumulate(mean),
            curve_sd=np.sqrt(curve + spread),
            noise=math.sqrt(noise_variance / kept),
        )

    def _posterior(
        self, x: FloatArray, candidates: FloatArray, parts: _Parts, noise: float, ripple: float
    ) -> tuple[FloatArray, FloatArray]:
        """Return the mean at ``x`` for every candidate, and the variance, which they share."""
        shape = self._shape  # the diagonal of the kernel
        prior = shape.offset**2 + (shape.tilt * (x - self._middle)) ** 2 + ripple**2
        if not len(self._x):
            return candidates, prior
        cross = parts.with_ripple(ripple)
        known = np.hstack([self._residuals, cross.T])
        solved = cho_solve(self._factorized(noise, ripple), known, check_finite=False)
        split = self._residuals.shape[1]
        explained = np.einsum("ij,ji->i", cross, solved[:, split:])
        return candidates + cross @ solved[:, :split], np.maximum(prior - explained, 0.0)

    def _kernel_parts(self, x: FloatArray) -> _Parts:
        """Return the covariance of the curve at ``x`` with that where it was observed."""
        shape = self._shape
        left, right = x[:, None] - self._middle, self._x[None, :] - self._middle
        distance = math.sqrt(5) * np.abs(left - right) / shape.length
        matern = (1 + distance + distance**2 / 3) * np.exp(-distance)  # twice differentiable
        return _Parts(shape.offset**2 + shape.tilt**2 * left * right, matern)

    def _factorized(self, noise: float, ripple: float) -> tuple[FloatArray, bool]:
        covariance = self._parts.with_ripple(ripple)
        covariance[np.diag_indices_from(covariance)] += noise**2 + self._extra**2
        return cho_factor(covariance, lower=True, check_finite=False)

    def _likelihoods(self, noise: float, ripple: float, prior: float) -> FloatArray:
        """Return how likely every candidate is together with this noise and ripple."""
        belief = prior - 0.5 * (math.log(noise / _NOISE_MEDIAN) / _NOISE_SPREAD) ** 2
        if not len(self._x):
            return self._shape.priors + belief
        factor = self._factorized(noise, ripple)
        fit = (self._residuals * cho_solve(factor, self._residuals, check_finite=False)).sum(axis=0)
        return self._shape.priors + belief - 0.5 * fit - np.log(factor[0].diagonal()).sum()


def _averaged(
    x: FloatArray, y: FloatArray, extra: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Merge observations at nearly the same place if they are many, the certain ones first."""
    if len(x) <= _BINS:
        return x, y, extra
    span = float(np.ptp(x)) or 1.0
    cell = np.round((x - x.min()) / span * _BINS).astype(np.int64)
    weight = 1 / (_NOISE_MEDIAN**2 + extra**2)
    total = np.bincount(cell, weight)
    used = total > 0
    places, levels = (np.bincount(cell, weight * value)[used] / total[used] for value in (x, y))
    return places, levels, np.sqrt(np.maximum(1 / total[used] - _NOISE_MEDIAN**2, 0.0))

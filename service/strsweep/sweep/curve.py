"""A smooth rising curve with its uncertainty, learned from noisy observations.

It is the pruned share over the position on the search path, looked at through the logit. A run in
its middle counts as an observation with a larger error; see ``sweep.evidence``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.special import ndtr

from strsweep.sweep.clock import FloatArray
from strsweep.sweep.observations import IntArray, Observations

SATURATION = 1e-4
"""Shares closer than this to 0 or 1 carry no slope; the logit is cut off there."""
_NOISES = (0.02, 0.04, 0.08, 0.16, 0.32)
_NOISE_MEDIAN, _NOISE_SPREAD = 0.06, 0.8
"""Of one run, in logit: what is believed before. Runs of one seed scatter by 0.01 to 0.02 on
digits, and by 0.08 on its deeper network."""
_NEGLIGIBLE = 1e-2
"""Posterior probability below which a choice of noise and ripple is left out."""


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
    noise: FloatArray
    """Standard deviation of a single run around the curve; 0 for runs that were observed."""

    @property
    def sd(self) -> FloatArray:
        """Standard deviation of what a new run would give."""
        return np.hypot(self.curve_sd, self.noise)

    def probability(self, low: float, high: float) -> FloatArray:
        """Return the probability that a new run ends between two levels."""
        return ndtr((high - self.mean) / self.sd) - ndtr((low - self.mean) / self.sd)


@dataclass(frozen=True)
class _Parts:
    """A covariance: of offset and tilt, a ripple with the standard deviation 1, and single runs."""

    trend: FloatArray
    ripple: FloatArray
    same_run: FloatArray
    run_variance: FloatArray

    def total(self, noise: float, ripple: float) -> FloatArray:
        return self.trend + ripple**2 * self.ripple + self.same_run * (noise**2 + self.run_variance)


class SmoothCurve:
    """A Gaussian process that knows its error.

    Noise, ripple and candidate are not chosen but averaged over, by their posterior probabilities:
    a handful of observations is enough, and what they leave open shows in the error.

    Args:
        shape: What is believed before.
        seen: What was observed; None: nothing.
    """

    def __init__(self, shape: Shape, seen: Observations | None = None) -> None:
        self._shape = shape
        self._seen = Observations.of_runs([], []) if seen is None else seen
        x = self._seen.x
        sure = 1 / (_NOISE_MEDIAN**2 + self._seen.error.diagonal())
        self._middle = float(np.average(x, weights=sure)) if len(x) else 0.0
        self._parts = self._kernel_parts(x, self._seen.run)
        self._choices = [(noise, *ripple) for noise, ripple in product(_NOISES, shape.ripples)]
        self._factors = [self._factorized(noise, ripple) for noise, ripple, _ in self._choices]
        residuals = self._seen.y[:, None] - shape.candidates(x)
        self._whitened = [_solved(factor, residuals) for factor in self._factors]
        likelihoods = np.stack([self._likelihoods(index) for index in range(len(self._choices))])
        weights = np.exp(likelihoods - likelihoods.max())
        self._weights = weights / weights.sum()

    def predict(self, x: FloatArray, runs: IntArray | None = None) -> Prediction:
        """Return the levels at ``x``.

        Args:
            x: Places, shape [n]; sorted, if no runs are given: the mean rises with it.
            runs: Numbers of runs, shape [n]: where these, which were observed, will end; -1 and
                None: where a new run would.
        """
        numbers = np.full(len(x), -1) if runs is None else runs
        candidates, parts = self._shape.candidates(x), self._kernel_parts(x, numbers)
        is_new, run_variance = numbers < 0, self._run_variance(numbers)
        mean = square = curve = noise_variance = np.zeros(len(x))
        kept = 0.0
        for index, weights, share in self._likely_choices():
            means, variance = self._posterior(x, candidates, parts, index)
            noise = self._choices[index][0] ** 2
            # Of a run that was observed a part of the noise is known.
            variance = np.where(is_new, variance, variance + noise + run_variance)
            mean = mean + means @ weights
            square = square + means**2 @ weights
            curve = curve + variance * share
            noise_variance = noise_variance + noise * share * is_new
            kept += share
        mean, square, curve = mean / kept, square / kept, curve / kept
        spread = np.maximum(square - mean**2, 0.0)
        return Prediction(
            mean=np.maximum.accumulate(mean) if runs is None else mean,
            curve_sd=np.sqrt(np.maximum(curve, 0.0) + spread),
            noise=np.sqrt(noise_variance / kept),
        )

    def covariance(self, x: FloatArray) -> FloatArray:
        """Return the covariance of what is not known of the curve at ``x``, shape [n, n]."""
        candidates, parts = self._shape.candidates(x), self._kernel_parts(x, np.full(len(x), -1))
        known = mean = square = 0.0
        covariance = np.zeros((len(x), len(x)))
        for index, weights, share in self._likely_choices():
            noise, ripple, _ = self._choices[index]
            cross = parts.total(noise, ripple)
            told = _solved(self._factors[index], cross.T)
            means = candidates + told.T @ self._whitened[index]
            prior = self._trend(x, x) + ripple**2 * self._ripple(x, x)
            covariance += share * (prior - told.T @ told)
            mean, square = mean + means @ weights, square + (means * weights) @ means.T
            known += share
        return (covariance + square) / known - np.outer(mean, mean) / known**2

    def _likely_choices(self) -> Iterator[tuple[int, FloatArray, float]]:
        """Yield every choice worth looking at: its index, weights by candidate, and their sum."""
        for index, weights in enumerate(self._weights):
            share = float(weights.sum())
            if share >= _NEGLIGIBLE:
                yield index, weights, share

    def _run_variance(self, runs: IntArray) -> FloatArray:
        """Return the largest variance that was observed with, of every run; 0 of others."""
        same = runs[:, None] == self._seen.run
        return np.max(same * self._seen.run_sd, axis=1, initial=0.0) ** 2

    def _posterior(
        self, x: FloatArray, candidates: FloatArray, parts: _Parts, index: int
    ) -> tuple[FloatArray, FloatArray]:
        """Return the mean at ``x`` for every candidate, and the variance, which they share.

        The variance is without the noise of a run, and less what observations tell of both.
        """
        shape, (noise, ripple, _) = self._shape, self._choices[index]
        prior = shape.offset**2 + (shape.tilt * (x - self._middle)) ** 2 + ripple**2
        if not len(self._seen.x):
            return candidates, prior
        cross = parts.total(noise, ripple)
        told = _solved(self._factors[index], cross.T)
        return candidates + told.T @ self._whitened[index], prior - (told**2).sum(axis=0)

    def _kernel_parts(self, x: FloatArray, runs: IntArray) -> _Parts:
        """Return the covariance of levels at ``x`` with those that were observed."""
        return _Parts(
            trend=self._trend(x, self._seen.x),
            ripple=self._ripple(x, self._seen.x),
            same_run=(runs[:, None] == self._seen.run).astype(np.float64),
            run_variance=self._seen.run_sd**2,
        )

    def _trend(self, x: FloatArray, other: FloatArray) -> FloatArray:
        slopes = self._shape.tilt**2 * np.outer(x - self._middle, other - self._middle)
        return self._shape.offset**2 + slopes

    def _ripple(self, x: FloatArray, other: FloatArray) -> FloatArray:
        return matern((x[:, None] - other) / self._shape.length)

    def _factorized(self, noise: float, ripple: float) -> FloatArray:
        covariance = self._parts.total(noise, ripple) + self._seen.error
        return cholesky(covariance, lower=True, check_finite=False)

    def _likelihoods(self, index: int) -> FloatArray:
        """Return how likely every candidate is together with a choice of noise and ripple."""
        noise, _, prior = self._choices[index]
        belief = prior - 0.5 * (math.log(noise / _NOISE_MEDIAN) / _NOISE_SPREAD) ** 2
        fit = (self._whitened[index] ** 2).sum(axis=0)
        spread = np.log(self._factors[index].diagonal()).sum()
        return self._shape.priors + belief - 0.5 * fit - spread


def _solved(factor: FloatArray, columns: FloatArray) -> FloatArray:
    """Return what a lower factor maps to ``columns``: squares of it add up to what is explained."""
    return solve_triangular(factor, columns, lower=True, check_finite=False)


def matern(distance: FloatArray) -> FloatArray:
    """Return the correlation of twice differentiable functions over a distance in lengths."""
    far = math.sqrt(5) * np.abs(distance)
    return (1 + far + far**2 / 3) * np.exp(-far)

"""What the runs so far tell: of the whole path, and of how an unfinished run will end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache, partial
from itertools import product

import numpy as np

from strsweep.config import Quantity, Target
from strsweep.sweep.clock import FloatArray, level_at
from strsweep.sweep.curve import Prediction, Shape, SmoothCurve, logit
from strsweep.sweep.ending import Endings
from strsweep.sweep.path import PLACES, SearchPath
from strsweep.sweep.state import FinishedRun, Goal, UnfinishedRun

_HARDER, _HARDER_SPREAD = np.linspace(-1.8, 1.8, 13), 0.6
"""How wrong the expected hardness may be, as a logarithm; two thirds are within the spread."""
_LATER, _LATER_SPREAD = np.linspace(-0.3, 0.3, 7), 0.15
"""By how much more drive thresholds may begin to bite."""
_RIPPLES = ((0.1, 0.0), (0.3, 0.0), (1.0, 0.0), (2.0, 0.0))
"""How far a curve may stray from the law; setups that it was not fitted on need the larger ones."""
_OFF_PATH_SD = 0.3
"""Runs with another threshold init follow the same law to about this, in logit."""
_GRID = np.linspace(0.0, 1.0, 401)


class Outlook:
    """Curves and forecasts from the runs of a sweep; computed once, when they are asked for.

    Args:
        goal: Says how long a run is.
        path: Of the sweep.
        finished: Runs whose end is known.
        unfinished: Runs under way, and runs that were stopped.
    """

    def __init__(
        self,
        goal: Goal,
        path: SearchPath,
        finished: Sequence[FinishedRun],
        unfinished: Sequence[UnfinishedRun],
    ) -> None:
        self._goal = goal
        self._path = path
        self._finished = finished
        self._all = unfinished
        self._unfinished = [run for run in unfinished if run.trajectory and finished]
        self._curves: dict[Quantity, Prediction] = {}
        self._by_place: dict[Quantity, SmoothCurve] = {}
        self._endings: dict[tuple[int, Quantity], Endings] = {}
        self._forecasts: dict[tuple[str, int, Quantity], Prediction] = {}

    @property
    def positions(self) -> FloatArray:
        """The places that ``curve`` tells about, rising from 0 to 1."""
        return _GRID

    @property
    def num_finished(self) -> int:
        """Runs whose end is known."""
        return len(self._finished)

    @property
    def known(self) -> list[float]:
        """Positions of all runs."""
        return [run.position for run in (*self._finished, *self._all)]

    def curve(self, quantity: Quantity) -> Prediction:
        """Return what a new run would end with at every one of ``positions``, as levels."""
        if quantity not in self._curves:
            self._curves[quantity] = self._fitted(quantity, self._unfinished).predict(_GRID)
        return self._curves[quantity]

    def chances(self, target: Target) -> FloatArray:
        """Return the probability that a new run at each of ``positions`` hits ``target``."""
        return self._within(target, self.curve(target.quantity))

    def chance(self, run: UnfinishedRun, target: Target) -> float:
        """Return the probability that ``run`` hits ``target``."""
        return float(self._within(target, self.forecast(run, target.quantity))[0])

    def _within(self, target: Target, prediction: Prediction) -> FloatArray:
        window = self._goal.window(target)
        return prediction.probability(logit(window.low), logit(window.high))

    def forecast(self, run: UnfinishedRun, quantity: Quantity) -> Prediction:
        """Return how ``run`` will end, as one level.

        Two views are weighed: where its position lies on the curve of the finished runs, and how
        far along that curve it has come by now.
        """
        key = run.run_id, run.epochs, quantity
        if key not in self._forecasts:
            self._forecasts[key] = self._weighed(run, quantity)
        return self._forecasts[key]

    def _weighed(self, run: UnfinishedRun, quantity: Quantity) -> Prediction:
        place = np.asarray([run.position])
        by_place = self._by_finished(quantity).predict(place)
        if not run.trajectory or not self._finished:
            return by_place
        by_now = self._by_trajectory(run, quantity)
        weights = 1 / by_place.sd**2, 1 / by_now.sd**2
        total = weights[0] + weights[1]
        return Prediction(
            mean=(weights[0] * by_place.mean + weights[1] * by_now.mean) / total,
            curve_sd=np.sqrt(1 / total),
            noise=0.0,
        )

    def _by_finished(self, quantity: Quantity) -> SmoothCurve:
        if quantity not in self._by_place:
            self._by_place[quantity] = self._fitted(quantity, [])
        return self._by_place[quantity]

    def _fitted(self, quantity: Quantity, unfinished: Sequence[UnfinishedRun]) -> SmoothCurve:
        x = [run.position for run in self._finished]
        y = [logit(run.pruned(quantity)) for run in self._finished]
        extra = [0.0 if run.is_on_path else _OFF_PATH_SD for run in self._finished]
        for run in unfinished:
            end = self._by_trajectory(run, quantity)
            x.append(run.position)
            y.append(float(end.mean[0]))
            # All come from one map, and err together: many are not better than one.
            extra.append(float(end.sd[0]) * math.sqrt(len(unfinished)))
        return SmoothCurve(self._shape, x, y, extra)

    def _by_trajectory(self, run: UnfinishedRun, quantity: Quantity) -> Prediction:
        key = run.epochs, quantity
        if key not in self._endings:
            levels = self._by_finished(quantity).predict(PLACES).mean
            curve = partial(np.interp, xp=PLACES, fp=levels)
            self._endings[key] = Endings(self._path, curve, quantity, run.epochs, self._finished)
        return self._endings[key].predict(run)

    @cached_property
    def _shape(self) -> Shape:
        return Shape(
            candidates=partial(_laws, self._path),
            priors=_PRIORS,
            offset=0.1,
            tilt=0.3,
            ripples=_RIPPLES,
            length=0.3,
        )


_ROWS = np.asarray(list(product(_HARDER, _LATER)))
"""Every way in which the law may be off, one per row."""
_PRIORS = -0.5 * ((_ROWS / (_HARDER_SPREAD, _LATER_SPREAD)) ** 2).sum(axis=1)


def _laws(path: SearchPath, positions: FloatArray) -> FloatArray:
    """Return the level at every position, shape [n], by every law, shape [n, laws]."""
    harder, later = _ROWS.T
    drives = _drives(path, positions.tobytes())[:, None] - later
    levels = level_at(drives, path.clock.hardness * np.exp(harder))
    return np.clip(levels, logit(0.0), logit(1.0))


@lru_cache(maxsize=64)
def _drives(path: SearchPath, positions: bytes) -> FloatArray:
    return path.drives(np.frombuffer(positions, dtype=np.float64))

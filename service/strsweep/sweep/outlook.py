"""What the runs so far tell: of the whole path, and of how an unfinished run will end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from itertools import product

import numpy as np

from strsweep.config import Quantity, Target
from strsweep.sweep.clock import FloatArray, level_at
from strsweep.sweep.curve import Prediction, Shape, SmoothCurve, logit
from strsweep.sweep.evidence import Evidence
from strsweep.sweep.observations import IntArray
from strsweep.sweep.path import SearchPath
from strsweep.sweep.state import FinishedRun, Goal, UnfinishedRun

_HARDER, _HARDER_SPREAD = np.linspace(-1.8, 1.8, 13), 0.6
"""How wrong the expected hardness may be, as a logarithm; two thirds are within the spread."""
_LATER, _LATER_SPREAD = np.linspace(-0.3, 0.3, 7), 0.15
"""By how much more drive thresholds may begin to bite."""
_RIPPLES = ((0.05, 0.0), (0.1, 0.0), (0.3, 0.0), (1.0, 0.0))
"""How far a curve may stray from the law; setups that it was not fitted on need the larger ones."""
_MOST_RESTING = 32
"""Stopped runs that are all looked at; of more, one for each such part of the path."""
_GRID = np.linspace(0.0, 1.0, 401)


class Outlook:
    """Curves and forecasts from the runs of a sweep; computed once, when they are asked for.

    Args:
        goal: Its windows say what hits a target.
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
        self.known = [
            run.position if run.began_at is None else run.began_at
            for run in (*finished, *unfinished)
        ]
        """Where all runs began."""
        self._unfinished = _fewer(unfinished)
        self._learned: dict[Quantity, tuple[SmoothCurve, Evidence]] = {}
        self._curves: dict[Quantity, Prediction] = {}
        self._forecasts: dict[tuple[Quantity, tuple[tuple[str, int], ...]], Prediction] = {}
        """By what is forecast and of which runs, after how many epochs."""

    @property
    def positions(self) -> FloatArray:
        """The places that ``curve`` tells about, rising from 0 to 1."""
        return _GRID

    @property
    def num_finished(self) -> int:
        """Runs whose end is known."""
        return len(self._finished)

    @property
    def resting(self) -> list[UnfinishedRun]:
        """Runs that were stopped and are worth a look: of very many, not all."""
        return [run for run in self._unfinished if not run.is_running]

    def curve(self, quantity: Quantity) -> Prediction:
        """Return what a new run would end with at every one of ``positions``, as levels."""
        if quantity not in self._curves:
            self._curves[quantity] = self._learn(quantity)[0].predict(_GRID)
        return self._curves[quantity]

    def covariance(self, quantity: Quantity, indices: IntArray) -> FloatArray:
        """Return the covariance of what is not known of the curve at some of ``positions``."""
        return self._learn(quantity)[0].covariance(_GRID[indices])

    def chances(self, target: Target) -> FloatArray:
        """Return the probability that a new run at each of ``positions`` hits ``target``."""
        window = self._goal.window(target)
        curve = self.curve(target.quantity)
        return curve.probability(logit(window.low), logit(window.high))

    def forecasts(self, runs: Sequence[UnfinishedRun], quantity: Quantity) -> Prediction:
        """Return how each of ``runs`` will end, as levels."""
        key = quantity, tuple((run.run_id, run.epochs) for run in runs)
        if key not in self._forecasts:
            places = np.asarray([run.position for run in runs], dtype=np.float64)
            self._forecasts[key] = self.ends(runs, places, quantity)
        return self._forecasts[key]

    def ends(
        self, runs: Sequence[UnfinishedRun], places: FloatArray, quantity: Quantity
    ) -> Prediction:
        """Return how each of ``runs`` would end if its drive became that of a place, as levels."""
        curve, evidence = self._learn(quantity)
        numbers = np.asarray([evidence.number(run) for run in runs], dtype=np.int64)
        return curve.predict(places, numbers)

    def _learn(self, quantity: Quantity) -> tuple[SmoothCurve, Evidence]:
        if quantity not in self._learned:
            evidence = Evidence(self._path, quantity, self._finished, self._unfinished)
            self._learned[quantity] = SmoothCurve(self._shape, evidence.observations), evidence
        return self._learned[quantity]

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


def _fewer(unfinished: Sequence[UnfinishedRun]) -> Sequence[UnfinishedRun]:
    """Leave out stopped runs if they are many: of neighbours the longest tells the most."""
    resting = [run for run in unfinished if not run.is_running]
    if len(resting) <= _MOST_RESTING:
        return unfinished
    longest = {
        round(run.position * _MOST_RESTING): run.run_id
        for run in sorted(resting, key=lambda run: run.epochs)
    }
    kept = set(longest.values())
    return [run for run in unfinished if run.is_running or run.run_id in kept]


_ROWS = np.asarray(list(product(_HARDER, _LATER)))
"""Every way in which the law may be off, one per row."""
_PRIORS = -0.5 * ((_ROWS / (_HARDER_SPREAD, _LATER_SPREAD)) ** 2).sum(axis=1)


def _laws(path: SearchPath, positions: FloatArray) -> FloatArray:
    """Return the level at every position, shape [n], by every law, shape [n, laws]."""
    harder, later = _ROWS.T
    drives = path.drives(positions)[:, None] - later
    levels = level_at(drives, path.clock.hardness * np.exp(harder))
    return np.clip(levels, logit(0.0), logit(1.0))

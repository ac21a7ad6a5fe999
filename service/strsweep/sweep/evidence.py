"""What runs tell of the curve of a sweep: whole ones by their end, all by their way there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from strsweep.config import Quantity
from strsweep.sweep.clock import FloatArray, level_at
from strsweep.sweep.curve import logit, matern
from strsweep.sweep.observations import IntArray, Observations
from strsweep.sweep.path import SearchPath
from strsweep.sweep.state import FinishedRun, Snapshot, UnfinishedRun

Run = FinishedRun | UnfinishedRun

_LOOKS = (0.06, 0.2, 0.35)
"""Shares of the decay still to come at which a run is looked at on its way; more tell no more."""
_AHEAD, _AHEAD_BY_LEVEL, _LEVELS_APART, _GROWTH = 0.3, 0.5, 0.7, 0.6
"""By how much more runs in their middle have pruned than whole runs of the drive of now, over the
share of the decay to come to this power. With 0.18 to come it was between -0.3 and 0.4 of a logit
in eight kinds of runs on digits; it changes over less than one logit, and all runs share it."""
_WANDER, _WANDER_GROWTH = 0.55, 0.9
"""How far one run may still stray: the first, times the decay to come to this power. With 0.39,
0.18 and 0.06 of it to come 0.04, 0.03 and 0.01 were seen on digits, and about twice that on its
deeper network; of runs that are corrected, which are those that stray, up to thrice."""
_LOOK_SD = 0.01
_EARLY, _EARLY_LEVEL, _EARLY_WIDTH = 1.5, 1.3, 0.25
"""Below about 80 % pruning has not found its pace: it may be off by this per decay to come."""
_HARDLY_BEGUN = 0.5
"""The same per logit below 50 %, where a run has yet to show that it prunes at all."""
_LOWEST = -3.0
"""Levels of whole runs' ways below this tell nothing of targets."""
_OFF_PATH_SD = 0.3
"""Runs with another threshold init follow the same law to about this, in logit."""
RESPONSE_SD = 0.3
"""Of the change that another weight decay lets expect, as a share. In 240 runs on digits and its
deeper network that went on with 0.5 to 4 times the weight decay after 50, 67 and 80 % of training,
the change in logit was 1.06 times the expected in the median, 0.81 to 1.34 times in two thirds."""
_DETAILED = 16
"""Runs of either kind, the newest, whose way is looked at too: they tell what all share."""
_BINS = 60
"""Ends of the others nearer than this part of their range count as one: a thousand cost no more."""


@dataclass(frozen=True)
class _Look:
    """One level of one run."""

    run: Run
    place: float
    level: float
    left: float
    """Share of the decay still to come."""
    detour: float
    """By how much corrections should have moved it."""


class Evidence:
    """Observations of the curve, and which run each is of.

    Thresholds do not know how long a run is: after an epoch a run has pruned about what a whole
    run prunes that ends with the drive of now. So every epoch is an observation of the curve, at
    the place of that drive, and the end of a run is known the better the less is to come.

    Args:
        path: Of the sweep.
        quantity: What the levels are of.
        finished: Runs whose end is known, the newest last.
        unfinished: Runs under way or stopped; those without an epoch tell nothing.
    """

    def __init__(
        self,
        path: SearchPath,
        quantity: Quantity,
        finished: Sequence[FinishedRun],
        unfinished: Sequence[UnfinishedRun],
    ) -> None:
        self._path = path
        self._quantity: Quantity = quantity
        begun = [run for run in unfinished if run.trajectory]
        old, new = finished[:-_DETAILED], [*finished[-_DETAILED:], *begun[-_DETAILED:]]
        looks = [look for run in begun[:-_DETAILED] for look in self._now(run)]
        looks += [look for run in new for look in self._looks(run)]
        ends = _averaged([self._end(run) for run in old])
        runs = enumerate((*begun[:-_DETAILED], *new), start=len(ends.x))
        self._numbers = {run.run_id: number for number, run in runs}
        self.observations = ends.joined(_observed(looks, self._numbers))

    def number(self, run: UnfinishedRun) -> int:
        """Return the number of ``run`` among the observations; -1: there are none of it."""
        return self._numbers.get(run.run_id, -1)

    def _end(self, run: FinishedRun) -> _Look:
        last = len(self._path.clock.epochs)
        # Only corrected ones need it, and there may be a thousand runs.
        drive = math.nan if run.began_at is None else self._path.drive_at(run.position)
        return self._look(run, run.position, run.pruned(self._quantity), drive, last)

    def _now(self, run: UnfinishedRun) -> list[_Look]:
        return self._seen(run, run.trajectory[-1:])

    def _looks(self, run: Run) -> list[_Look]:
        """Return the end of ``run``, or where it is now, and some levels of its way there."""
        if isinstance(run, FinishedRun):
            return [self._end(run), *self._way(run, run.trajectory)]
        return [*self._now(run), *self._way(run, run.trajectory[:-1])]

    def _way(self, run: Run, seen: Sequence[Snapshot]) -> list[_Look]:
        left = self._path.clock.left
        reached = [wanted for wanted in _LOOKS if seen and left(seen[-1].epoch) <= wanted]
        nearest = {min(seen, key=lambda now: abs(left(now.epoch) - wanted)) for wanted in reached}
        looks = self._seen(run, nearest)
        return [look for look in looks if look.left > 0 and look.level > _LOWEST]

    def _seen(self, run: Run, snapshots: Iterable[Snapshot]) -> list[_Look]:
        seen = list(snapshots)
        places = self._path.reached(np.asarray([now.drive for now in seen])).tolist()
        return [
            self._look(run, place, now.pruned(self._quantity), now.drive, now.epoch)
            for now, place in zip(seen, places, strict=True)
            if not math.isnan(place)
        ]

    def _look(self, run: Run, place: float, pruned: float, drive: float, epoch: int) -> _Look:
        clock, detour = self._path.clock, 0.0
        if run.began_at is not None:
            uncorrected = clock.drive_after(self._path.at(run.began_at), epoch)
            was, now = level_at(np.asarray([uncorrected, drive]), clock.hardness)
            detour = float(now - was)
        return _Look(run, place, logit(pruned), clock.left(epoch), detour)


def _observed(looks: Sequence[_Look], numbers: Mapping[str, int]) -> Observations:
    rows = [(look.place, look.level, look.left, look.detour) for look in looks]
    place, level, left, detour = np.asarray(rows, dtype=np.float64).reshape(-1, 4).T
    run = np.asarray([numbers[look.run.run_id] for look in looks], dtype=np.int64)
    is_off = np.asarray([look.run.threshold_init is not None for look in looks], dtype=np.bool_)
    return Observations(
        x=place,
        y=level,
        run=run,
        run_sd=np.where(is_off, _OFF_PATH_SD, 0.0),
        error=_ahead(level, left)
        + _wander(run, left)
        + _response(run, detour)
        + np.diag(_look_variance(level, left)),
    )


def _ahead(level: FloatArray, left: FloatArray) -> FloatArray:
    """Return the covariance of what all runs of the sweep are ahead, shape [n, n]."""
    alike = matern((level[:, None] - level) / _LEVELS_APART)
    return np.outer(left, left) ** _GROWTH * (_AHEAD**2 + _AHEAD_BY_LEVEL**2 * alike)


def _wander(run: IntArray, left: FloatArray) -> FloatArray:
    """Return the covariance of how far single runs still stray: that of a random walk."""
    steps = left ** (2 * _WANDER_GROWTH)
    return (run[:, None] == run) * _WANDER**2 * np.minimum(steps[:, None], steps)


def _response(run: IntArray, detour: FloatArray) -> FloatArray:
    """Return the covariance of how much more or less than expected corrections did to a run."""
    return (run[:, None] == run) * RESPONSE_SD**2 * np.outer(detour, detour)


def _look_variance(level: FloatArray, left: FloatArray) -> FloatArray:
    early = _EARLY * expit((_EARLY_LEVEL - level) / _EARLY_WIDTH)
    early += _HARDLY_BEGUN * np.maximum(-level, 0.0)
    return np.where(left > 0, _LOOK_SD**2 + (early * left) ** 2, 0.0)


def _averaged(ends: Sequence[_Look]) -> Observations:
    """Return ends as if those at nearly the same place were one run, if they are many."""
    (on_path, levels), (off_path, off_levels) = (
        _binned([look for look in ends if (look.run.threshold_init is not None) == is_off])
        for is_off in (False, True)
    )
    return Observations.of_runs(
        np.concatenate([on_path, off_path]),
        np.concatenate([levels, off_levels]),
        run_sd=np.repeat([0.0, _OFF_PATH_SD], [len(on_path), len(off_path)]),
    )


def _binned(ends: Sequence[_Look]) -> tuple[FloatArray, FloatArray]:
    """Return places and levels; those at nearly the same place as one, if they are many."""
    rows = [(look.place, look.level) for look in ends]
    places, levels = np.asarray(rows, dtype=np.float64).reshape(-1, 2).T
    if len(places) <= _BINS:
        return places, levels
    span = float(np.ptp(places)) or 1.0
    cells = np.round((places - places.min()) / span * _BINS).astype(np.int64)
    counts = np.bincount(cells)
    used = counts > 0
    mean = [np.bincount(cells, values)[used] / counts[used] for values in (places, levels)]
    return mean[0], mean[1]

"""Where a run in the middle of its training will end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import expit

from strsweep.config import Quantity
from strsweep.sweep.clock import FloatArray
from strsweep.sweep.curve import Prediction, Shape, SmoothCurve, logit
from strsweep.sweep.path import SearchPath
from strsweep.sweep.state import FinishedRun, Snapshot, UnfinishedRun

_OFFSET, _TILT, _RIPPLE = 0.5, 0.15, 0.15
"""Of what the drift leaves over, per share of the decay that is still to come. Over 260 runs on
digits, with 33, 50, 67 and 80 % of training done: -0.2, -0.08, -0.03 and 0.00 in logit, and from
run to run 0.15, 0.07, 0.03 and 0.01."""
_OFFSET_AT_THE_END = 0.01
_SCATTER, _SCATTER_AT_THE_END, _SCATTER_OF_DRIFT = 0.15, 0.005, 0.1
_EARLY_SCATTER, _EARLY_LEVEL, _EARLY_WIDTH = 1.5, 1.3, 0.25
"""Below about 80 % pruning has not found its pace: there a drift may be off by half a logit."""
_HARDLY_BEGUN = 0.5
"""Further scatter per logit below 50 %, where a run has yet to show that it prunes at all."""


class Endings:
    """Forecasts from the levels of runs after one and the same epoch.

    Thresholds do not know how long a run is: after an epoch a run has pruned about what a whole
    run prunes that ends with the drive of now. So until its end it drifts along the curve of the
    sweep, from the place of that drive to its own. What else the rest of the training changes is
    learned from the finished runs.

    Args:
        path: Of the sweep.
        curve: Maps places on the path to the levels that whole runs end with.
        quantity: That the levels are of.
        epoch: After which the runs are looked at, from 1.
        finished: Runs to learn from; one that lacks the epoch tells nothing.
    """

    def __init__(
        self,
        path: SearchPath,
        curve: Callable[[FloatArray], FloatArray],
        quantity: Quantity,
        epoch: int,
        finished: Sequence[FinishedRun],
    ) -> None:
        self._path, self._curve = path, curve
        self._quantity: Quantity = quantity
        self._epoch = epoch
        self._left = path.clock.left(epoch)
        known = [(run, now) for run in finished if (now := _after(epoch, run.trajectory))]
        runs, levels = [run for run, _ in known], self._levels([now for _, now in known])
        drifts = self._drifts(runs)
        ends = np.asarray([logit(run.pruned(quantity)) for run in runs])
        self._rest = SmoothCurve(
            _rest(self._left),
            list(levels),
            list(ends - levels - drifts),
            list(self._scatter(levels, drifts)),
        )

    def predict(self, run: UnfinishedRun) -> Prediction:
        """Return the level that ``run`` will end with; it is after this epoch."""
        levels, drifts = self._levels(run.trajectory[-1:]), self._drifts([run])
        rest = self._rest.predict(levels)
        return Prediction(
            mean=levels + drifts + rest.mean,
            curve_sd=np.hypot(rest.curve_sd, self._scatter(levels, drifts)),
            noise=rest.noise,
        )

    def _levels(self, snapshots: Sequence[Snapshot]) -> FloatArray:
        return np.asarray([logit(now.pruned(self._quantity)) for now in snapshots])

    def _drifts(self, runs: Sequence[FinishedRun] | Sequence[UnfinishedRun]) -> FloatArray:
        """Return by how much the curve rises from the drive of now to that of the end."""
        ends = np.asarray([run.position for run in runs])
        inits = [run.threshold_init for run in runs]
        return self._curve(ends) - self._curve(self._path.reached(ends, inits, self._epoch))

    def _scatter(self, levels: FloatArray, drifts: FloatArray) -> FloatArray:
        """Return the standard deviation of single runs around what is expected of them."""
        early = _EARLY_SCATTER * expit((_EARLY_LEVEL - levels) / _EARLY_WIDTH)
        early += _HARDLY_BEGUN * np.maximum(-levels, 0.0)
        usual = _SCATTER_OF_DRIFT * drifts + _SCATTER * self._left + _SCATTER_AT_THE_END
        return np.hypot(usual, early * self._left)


def _rest(left: float) -> Shape:
    """Return what is believed of the change besides the drift, over the level now."""
    return Shape(
        candidates=lambda level: np.zeros((len(level), 1)),
        priors=np.zeros(1),
        offset=_OFFSET * left + _OFFSET_AT_THE_END,
        tilt=_TILT * left,
        ripples=((_RIPPLE * left, 0.0),),
        length=2.0,
    )


def _after(epoch: int, trajectory: Sequence[Snapshot]) -> Snapshot | None:
    if epoch <= len(trajectory) and trajectory[epoch - 1].epoch == epoch:  # none is missing
        return trajectory[epoch - 1]
    return next((snapshot for snapshot in trajectory if snapshot.epoch == epoch), None)

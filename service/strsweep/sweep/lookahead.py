"""Which run to begin: the one after which the fewest others are expected to be needed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from strsweep.config import Quantity, Target
from strsweep.sweep.clock import FloatArray
from strsweep.sweep.curve import logit
from strsweep.sweep.observations import IntArray
from strsweep.sweep.outlook import Outlook
from strsweep.sweep.state import Goal
from strsweep.sweep.window import Window

_LEAST_CHANCE = 0.2
"""A target is not expected to take more runs than with this chance a run: by then more is known. On
digits and its deeper network, replayed with the scatter of real runs, 0.1 and 0.2 saved a tenth and
a sixth of the epochs that aiming at the likeliest target took; 0.03 saved half as much."""
_SLIGHT = 0.01
"""With less of a chance to hit any, a place belongs to the target that it was chosen for."""
NO_CHANCE = 1e-9
"""Below it chances do not say where to aim."""


def best_aim(targets: Sequence[Target], goal: Goal, outlook: Outlook) -> tuple[Target, int]:
    """Return what to aim at, and the index of the position of the run to begin.

    A run may hit, and it tells where others have to be. So the nearest target is not always the
    next: once the farthest is known, those between are interpolated. One step is looked ahead.

    Args:
        targets: Open, and without a run under way.
        goal: Its windows say what hits a target.
        outlook: From the runs so far.
    """
    chances = np.stack([outlook.chances(target) for target in targets])
    places = np.asarray([most_likely(target, goal, outlook) for target in targets])
    if len(targets) == 1:
        return targets[0], int(places[0])
    places = np.append(places, chances.sum(axis=0).argmax())  # may hit several
    quantities: set[Quantity] = {target.quantity for target in targets}
    doubts = {each: _doubts(each, places, outlook) for each in quantities}
    left = [
        (1 - chances[row, places]) * _runs(goal.window(target), doubts[target.quantity][:, row])
        for row, target in enumerate(targets)
    ]
    best = int(np.sum(left, axis=0).argmin())
    index = int(places[best])
    likeliest = int(chances[:, index].argmax())
    is_of_one = best < len(targets) and chances[likeliest, index] < _SLIGHT
    return targets[best if is_of_one else likeliest], index


def most_likely(target: Target, goal: Goal, outlook: Outlook) -> int:
    """Return the index of the position most likely to hit ``target``, or to come nearest."""
    chances = outlook.chances(target)
    if chances.max() > NO_CHANCE:
        return int(chances.argmax())
    means = outlook.curve(target.quantity).mean
    return int(np.abs(means - logit(goal.pruned(target))).argmin())


def _doubts(quantity: Quantity, places: IntArray, outlook: Outlook) -> FloatArray:
    """Return the standard deviation of what a run at j gives after one at i, shape [n, n].

    Args:
        quantity: What the runs end with.
        places: Indices of positions, shape [n].
        outlook: From the runs so far.
    """
    noise = outlook.curve(quantity).noise[0] ** 2
    covariance = outlook.covariance(quantity, places)
    variance = covariance.diagonal()
    told = covariance**2 / (variance[:, None] + noise)
    return np.sqrt(np.maximum(variance - told, 0.0) + noise)


def _runs(window: Window, sd: FloatArray) -> FloatArray:
    """Return how many runs to end in ``window``, aimed at its middle with errors of ``sd``."""
    half = (logit(window.high) - logit(window.low)) / 2
    return 1 / np.maximum(2 * ndtr(half / sd) - 1, _LEAST_CHANCE)

"""How a run may go on: with the weight decay it has, or with another that leads to a target.

What a run will have pruned follows its drive, and only what is still to come of the drive can be
changed: a fifth of it after half of a cosine schedule, a sixteenth after two thirds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from strsweep.config import Correction, Quantity, Target
from strsweep.sweep.clock import FloatArray
from strsweep.sweep.curve import logit
from strsweep.sweep.evidence import RESPONSE_SD
from strsweep.sweep.outlook import Outlook
from strsweep.sweep.path import SearchPath
from strsweep.sweep.state import Goal, Resume, UnfinishedRun

_LARGEST, _SMALLEST = 3.0, 0.1
"""Weight decay after a correction, in terms of the first one of the run. Up to 4 was tried."""
_COARSE, _FINE = 33, 641
"""Weight decays that are looked at: with their ends forecast, and in between."""
_GAIN = 1.6
"""By which factor the run must become more likely to hit: that of a forecast that misses by about a
standard deviation. Going on with another decay is a restart; but what is put off cannot be done
later, when less of the drive is to come."""
_EARLIEST = 0.5
"""Share of the training before which forecasts are too vague to change anything by them."""
_LOYAL = 0.25
"""A run keeps its target until another is likelier by more than the inverse of this."""
_HITS = 0.3
"""Chance from which on a run that would hit another target is not led away from it."""
_WORTH_RESUMING = 0.1
"""Chance below which a stopped run is left alone."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """One way for a run to go on."""

    chance: float
    """Probability that it then hits the target."""
    unchanged: float
    """The same, if it goes on as it is."""
    correction: Correction | None = None
    """None: with the weight decay it has."""


class Courses:
    """All that some unfinished runs can still end with.

    Args:
        runs: Stopped or under way.
        quantity: What they end with.
        goal: Its windows say what hits a target.
        path: Of the sweep.
        outlook: From the runs so far.
    """

    def __init__(
        self,
        runs: Sequence[UnfinishedRun],
        quantity: Quantity,
        goal: Goal,
        path: SearchPath,
        outlook: Outlook,
    ) -> None:
        self._goal = goal
        self._choices = [_choices(run, goal, path) for run in runs]
        counts = [len(choices.places) for choices in self._choices]
        owners = [run for run, count in zip(runs, counts, strict=True) for _ in range(count)]
        places = np.concatenate([np.empty(0), *(choices.places for choices in self._choices)])
        ends = outlook.ends(owners, places, quantity)
        cuts = np.cumsum(counts)[:-1]
        self._means, self._sds = np.split(ends.mean, cuts), np.split(ends.sd, cuts)

    def best(self, target: Target) -> list[Course]:
        """Return the best course of every run to ``target``."""
        window = self._goal.window(target)
        ends = zip(self._choices, self._means, self._sds, strict=True)
        return [_best(*end, logit(window.low), logit(window.high)) for end in ends]


def best_resumption(
    runs: Sequence[UnfinishedRun],
    targets: Sequence[Target],
    goal: Goal,
    path: SearchPath,
    outlook: Outlook,
) -> Resume | None:
    """Return which of ``runs`` to let go on, and how, if that is better than a new one.

    A run goes on to its own target unless others are far likelier, or it may hit one as it is: what
    it was begun for has the least to change.

    Args:
        runs: Stopped, or under way and as if they were.
        targets: Open, and aimed at by no other run under way.
        goal: Its windows say what hits a target.
        path: Of the sweep.
        outlook: From the runs so far.
    """
    if not runs or not targets:
        return None
    quantities: set[Quantity] = {target.quantity for target in targets}
    courses = {each: Courses(runs, each, goal, path, outlook) for each in quantities}
    to_each = [courses[target.quantity].best(target) for target in targets]
    anew = [float(outlook.chances(target).max()) for target in targets]
    best: tuple[float, Resume] | None = None
    for run, ways in zip(runs, zip(*to_each, strict=True), strict=True):
        likeliest = max(way.chance for way in ways)
        options = list(zip(targets, ways, anew, strict=True))
        own = [each for each in options if each[0] == run.target]
        hits_as_it_is = max(way.unchanged for way in ways) > _HITS
        keeps_aim = own and not hits_as_it_is and own[0][1].chance > _LOYAL * likeliest
        for target, course, chance_anew in own if keeps_aim else options:
            gain = course.chance * goal.epochs / max(goal.epochs - run.epochs, 1)
            least = max(chance_anew, 0.0 if best is None else best[0])
            if course.chance > _WORTH_RESUMING and gain > least:
                best = gain, _resumed(run, target, course)
    return None if best is None else best[1]


def _resumed(run: UnfinishedRun, target: Target, course: Course) -> Resume:
    change = course.correction
    reason = (
        f"stopped early, may end at {target}"
        if change is None
        else f"led to {target} by its weight decay"
    )
    return Resume(run_id=run.run_id, target=target, reason=reason, correction=change)


@dataclass(frozen=True)
class _Choices:
    """Weight decays that a run may go on with, and the places where it then ends."""

    after_epoch: int
    decays: FloatArray
    """Rising; one only: it cannot be changed."""
    unchanged: float
    places: FloatArray


def _choices(run: UnfinishedRun, goal: Goal, path: SearchPath) -> _Choices:
    epoch = run.epochs - run.epochs % goal.checkpoint_every
    seen = [now.drive for now in run.trajectory if now.epoch == epoch]
    corrects = goal.corrects and epoch >= _EARLIEST * goal.epochs
    if corrects and seen and (left := path.clock.left(epoch) * path.clock.total) > 0:
        unchanged = (path.drive_at(run.position) - seen[0]) / left
        first = unchanged if run.began_at is None else path.at(run.began_at).weight_decay
        # On the whole it stays in the ranges: its mean decay is that of a place on the path.
        low, high = ((path.drive_at(end) - seen[0]) / left for end in (0.0, 1.0))
        low, high = max(low, first * _SMALLEST), min(high, first * _LARGEST)
        decays = np.linspace(min(low, unchanged), max(high, unchanged), _COARSE)
        places = path.reached(seen[0] + decays * left)
        if np.isfinite(places).all():
            return _Choices(epoch, decays, unchanged, places)
    return _Choices(epoch, np.ones(1), 1.0, np.asarray([run.position]))


def _best(choices: _Choices, means: FloatArray, sds: FloatArray, low: float, high: float) -> Course:
    if len(choices.decays) == 1:
        chance = float(ndtr((high - means[0]) / sds[0]) - ndtr((low - means[0]) / sds[0]))
        return Course(chance=chance, unchanged=chance)
    known = choices.decays
    decays = np.append(np.linspace(known[0], known[-1], _FINE), choices.unchanged)
    mean, sd = np.interp(decays, known, means), np.interp(decays, known, sds)
    sd = np.hypot(sd, RESPONSE_SD * (mean - mean[-1]))
    chances = ndtr((high - mean) / sd) - ndtr((low - mean) / sd)
    best, as_it_is = int(chances.argmax()), float(chances[-1])
    if chances[best] <= _GAIN * as_it_is:
        return Course(chance=as_it_is, unchanged=as_it_is)
    decay = float(f"{decays[best]:.6g}")
    correction = Correction(after_epoch=choices.after_epoch, weight_decay=decay)
    return Course(chance=float(chances[best]), unchanged=as_it_is, correction=correction)

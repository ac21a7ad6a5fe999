"""Which settings lead to a target: it is given to the method, or the law of training says."""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from strsweep.config import Experiment, Problem, Range
from strsweep.search.runs import Run, SearchState, Status
from strsweep.settings import Fork, Lead, Quantity, RunSettings, Target
from strsweep.training import law
from strsweep.training.law import Belief, Law, ThresholdClock, expit, logit, pruning_level
from strsweep.training.leader import leader_of

_FACTORS = (2.0, 0.7, 4.0, 1.4, 8.0, 16.0)
"""Of the threshold init, where further runs look for a better score; the paper moves it by 4."""
_FARTHEST = 1.0
"""Logit by which a run may aim beyond its target."""
_PLACES = 2**60
"""On the diagonal of the ranges: as many as a float can tell apart."""
_LONGEST_DELAY = 50.0
"""Exposure: with a later start the first thresholds could not be written in float32."""


class Space(ABC):
    """Maps targets to the settings of runs."""

    onset: int = 0
    """Epochs that all runs share."""
    retries: bool = False
    """Another run for the same target can do better than the first."""
    limited_by: str = ""
    """The setting whose range decides what can be reached; empty if none does."""

    @abstractmethod
    def settings(self, target: Target, state: SearchState) -> RunSettings:
        """Return the settings of the next run for ``target``."""

    @abstractmethod
    def dense(self, *, is_whole: bool) -> RunSettings:
        """Return the settings of the dense network, whole or for the epochs that are shared."""

    def distance(self, target: Target, state: SearchState) -> float:
        """Return how little is known of ``target``: the next run is for the least."""
        return 0.0

    def variants(self, target: Target, state: SearchState) -> Sequence[RunSettings]:
        """Return settings that lead to ``target`` with thresholds that prune later or earlier."""
        return ()

    def reach(self, run: Run, quantity: Quantity) -> tuple[float, float]:
        """Return between which shares a run under way may end."""
        return 0.0, 1.0


class GivenSpace(Space):
    """Methods that are given their sparsity: every target takes one run."""

    def __init__(self, experiment: Experiment, problem: Problem) -> None:
        decay = experiment.search.weight_decay
        assert isinstance(decay, float | int)
        self._weight_decay, self._problem = decay, problem

    def settings(self, target: Target, state: SearchState | None = None) -> RunSettings:
        """See ``Space``; nothing depends on what is known."""
        pruned = self._problem.pruned(target)
        if target.quantity == "sparsity":
            return RunSettings(weight_decay=self._weight_decay, sparsity=pruned)
        return RunSettings(weight_decay=self._weight_decay, macs=1 - pruned)

    def dense(self, *, is_whole: bool) -> RunSettings:
        """See ``Space``."""
        return RunSettings(weight_decay=self._weight_decay, is_dense=True)


@dataclass(frozen=True, kw_only=True)
class _Aim:
    """What a run is to end with, and what is believed of the recipe then."""

    quantity: Quantity
    level: float
    """Logit of the share to prune."""
    belief: Belief
    law: Law

    @property
    def exposure(self) -> float:
        """That leads there."""
        return self.belief.exposure_for(self.law.relative_exposure(self.level))


class LawSpace(Space):
    """STR: the law says which decay leads to a target, and what runs ended with corrects it.

    ``threshold_init`` and the decay may be ``auto``.
    """

    retries = True

    def __init__(self, experiment: Experiment, problem: Problem) -> None:
        search = experiment.search
        self._search, self._problem = search, problem
        self.law = Law.of(experiment)
        self.onset = onset_of(experiment, problem)
        self.clock = ThresholdClock.of(experiment, problem.steps_per_epoch, self.onset)
        whole = ThresholdClock.of(experiment, problem.steps_per_epoch, 0).total
        held = self.law.held
        self.expected = self.law.expected(self.clock.total if held else whole, problem.weights)
        """``exposure_at_90`` before any run."""
        self.pruning_level = pruning_level(experiment, problem.weight_scale)
        """``-s`` from which on thresholds prune."""
        first, knob = search.threshold_init, search.knob_value
        if first == "auto":
            delay = min(held.delay if held else law.FITTED.delay * self.expected, _LONGEST_DELAY)
            first = -float(f"{self.pruning_level * math.exp(delay):.3g}")
        self.threshold_init = as_range(first)
        self.knob = None if knob == "auto" else as_range(knob)
        """Lowest and highest; None: any decay."""
        if self.knob is not None:
            self.limited_by = search.knob if self.knob[0] < self.knob[1] else "threshold_init"

    def delay(self, threshold_init: float) -> float:
        """Return the exposure that passes before thresholds prune."""
        return math.log(-threshold_init / self.pruning_level)

    def exposure(self, run: Run) -> float:
        """Return what the thresholds of ``run`` have come to."""
        return self._exposure_of(run.settings, run.decayed)

    def _first_exposure(self, run: Run) -> float:
        """Return what the thresholds of ``run`` would have come to with its first decay."""
        return self._exposure_of(run.settings, run.settings.first_decay * self.clock.total)

    def _exposure_of(self, settings: RunSettings, decayed: float) -> float:
        assert settings.threshold_init is not None
        return decayed - self.delay(settings.threshold_init)

    def settings(self, target: Target, state: SearchState) -> RunSettings:
        """See ``Space``."""
        aim = self._aim(target, state)
        first, decay = self._at(self._position(aim.exposure))
        return self._run(aim, first, decay, state)

    def distance(self, target: Target, state: SearchState) -> float:
        """See ``Space``: in logit from the nearest end of a run, or from the middle target."""
        ends = [logit(run.pruned(target.quantity)) for run in state.finished]
        ends = ends or [statistics.median(map(self._level, state.goal.targets))]
        return min(abs(end - self._level(target)) for end in ends)

    def variants(self, target: Target, state: SearchState) -> Sequence[RunSettings]:
        """See ``Space``."""
        aim = self._aim(target, state)
        first, _ = self._at(self._position(aim.exposure))
        starts = [max(-first * factor, 1.01 * self.pruning_level) for factor in _FACTORS]
        inits = [-float(f"{start:.6g}") for start in starts]
        decays = [self.clock.decay_for(aim.exposure, self.delay(init)) for init in inits]
        return [self._run(aim, *each, state) for each in zip(inits, decays, strict=True)]

    def reach(self, run: Run, quantity: Quantity) -> tuple[float, float]:
        """See ``Space``; a run that keeps one decay is not judged."""
        lead = run.settings.lead
        if lead is None or lead.quantity != quantity:
            return 0.0, 1.0
        leader = leader_of(self.law, lead, self.clock, run.settings.first_decay)
        exposure = run.decayed - lead.delay
        return leader.reach(run.epoch, exposure, run.pruned(quantity))

    def dense(self, *, is_whole: bool) -> RunSettings:
        """See ``Space``; thresholds are there, but never act: other runs can fork from it."""
        weights = self._search.weight_decay
        assert isinstance(weights, float | int)
        return RunSettings(
            threshold_init=self.threshold_init[0],
            weight_decay=weights,
            onset=self.onset,
            is_dense=True,
            last_epoch=None if is_whole else self.onset,
        )

    def _level(self, target: Target) -> float:
        return logit(self._problem.pruned(target))

    def _aim(self, target: Target, state: SearchState) -> _Aim:
        level = self._level(target)
        known = state.finished + [run for run in state.runs if run.status is Status.STOPPED]
        ends = [logit(run.pruned(target.quantity)) for run in known]
        exposures = [self.exposure(run) for run in known]
        belief = self.law.believe(self.expected, list(zip(exposures, ends, strict=True)), level)
        if self._search.led:
            above = [run for run, end in zip(known, ends, strict=True) if end > level]
            belief = self.law.bounded(belief, level, map(self._first_exposure, above))
        tries = [end for r, end in zip(known, ends, strict=True) if r.target == target]
        if self._search.led and len(tries) > 1:
            # The first miss corrects the law. What a led run misses after that is an error of its
            # control, and would come again: the next one aims beyond by as much.
            beyond = sum(level - end for end in tries[1:])
            level += min(max(beyond, -_FARTHEST), _FARTHEST)
        return _Aim(quantity=target.quantity, level=level, belief=belief, law=self.law)

    def _position(self, exposure: float) -> float:
        """Return where on the diagonal of the ranges, in [0, 1], a run has ``exposure``.

        Both a larger decay and a higher threshold init prune more (appendix A.6).
        """
        if self.knob is None:
            return self.clock.decay_for(exposure, self.delay(self.threshold_init[0]))

        def reached(place: int) -> float:
            first, decay = self._at(place / _PLACES)
            return decay * self.clock.total - self.delay(first)

        return bisect_left(range(_PLACES), exposure, key=reached) / _PLACES

    def _at(self, position: float) -> tuple[float, float]:
        """Return threshold init and decay at ``position``; without a range that is the decay."""
        low, high = self.threshold_init
        first = -_between(-low, -high, position)
        return first, position if self.knob is None else _between(*self.knob, position)

    def _run(self, aim: _Aim, first: float, decay: float, state: SearchState) -> RunSettings:
        search = self._search
        if self.knob != (decay, decay):  # a number of the file is taken as it stands
            decay = float(f"{max(decay, 1e-12):.6g}")
        if self.knob is None and search.led and self.law.held is not None:
            decay = self.law.held.start
        weights = decay if search.decay == "shared" else search.weight_decay
        assert isinstance(weights, float | int)
        lead = Lead(
            quantity=aim.quantity,
            pruned=expit(aim.level),
            exposure_at_90=aim.belief.exposure_at_90,
            delay=self.delay(first) + aim.belief.late,
        )
        prefix = state.prefix if self.onset else None
        return RunSettings(
            threshold_init=first,
            weight_decay=weights,
            threshold_decay=None if search.decay == "shared" else decay,
            onset=self.onset,
            lead=lead if search.led else None,
            fork=Fork(folder=prefix, epoch=self.onset) if prefix else None,
        )


def space_of(experiment: Experiment, problem: Problem) -> Space:
    """Return the space of a sweep."""
    if experiment.has_fixed_target:
        return GivenSpace(experiment, problem)
    return LawSpace(experiment, problem)


def onset_of(experiment: Experiment, problem: Problem) -> int:
    """Return the epochs before thresholds act."""
    epochs = experiment.training.epochs
    onset = min(round(law.FITTED.onset * epochs), epochs - 1)
    is_long = (epochs - onset) * problem.steps_per_epoch >= law.FITTED.fewest_steps
    return onset if experiment.shares_prefix and is_long else 0


def as_range(value: object) -> Range:
    """Return the ends of a range; a number is one of no width."""
    if isinstance(value, tuple):
        low, high = value
        return float(low), float(high)
    assert isinstance(value, float | int)
    return float(value), float(value)


def _between(low: float, high: float, position: float) -> float:
    """Return the value at ``position``, in [0, 1], from ``low`` to ``high`` by their logarithms."""
    if low == high:  # also the only case in which a decay may be 0
        return low
    exponent = math.log(low) + position * (math.log(high) - math.log(low))
    return float(f"{math.exp(exponent):.6g}")

"""The clock of the thresholds: what weight decay, threshold init and schedule amount to together.

Before thresholds prune they move by weight decay alone, ``s(t) = s_init * exp(-decay * clock(t))``.
So one number, the *drive*, says how long they have been pruning: decay * clock, less the part that
passes until they bite. Published runs and runs on small images follow one law of it (``level_at``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from strsweep.config import Experiment, Problem, RunSettings
from strsweep.training.schedule import decay_clock

FloatArray = npt.NDArray[np.float64]

_BITING_SHARE = 0.25
"""Thresholds prune from about this share of the median weight on."""
_REFERENCE = (0.67, 165.0, 69_904)
"""Hardness, clock and weights of digits_cnn on digits in 30 epochs, from 60 runs."""
_HARDER_BY_CLOCK, _EASIER_BY_WEIGHTS = 0.58, 0.46
"""Exponents: longer training holds on to weights, a wide network has many to spare. Fitted to ten
kinds of runs on digits; for the paper's networks they give 4.8 and 10.9, where its runs show 5.5
(ResNet50) and about 12 (MobileNetV1)."""
_STEEPNESS, _KNEE, _LEVEL_90 = 1.5, 4.0, math.log(9)
"""Of the law: 1.2 to 1.3 in the paper's table 10, 1.4 to 1.7 on digits."""


@dataclass(frozen=True, kw_only=True)
class DecayClock:
    """The clock of one recipe on one problem."""

    epochs: tuple[float, ...]
    """Decay until after every epoch, per unit of weight decay; see ``decay_clock``."""
    bite: float
    """``-s`` from which on thresholds prune."""
    hardness: float
    """Expected drive at which 90 % are pruned."""
    threshold_decay: float | None = None
    """Decay of the thresholds, if it is set apart from that of the weights."""

    @classmethod
    def of(cls, experiment: Experiment, problem: Problem) -> DecayClock:
        """Return the clock of ``experiment``."""
        epochs = decay_clock(experiment.training, problem.steps_per_epoch)
        hardness, clock, weights = _REFERENCE
        return cls(
            epochs=epochs,
            bite=_bite(experiment, problem.weight_scale),
            hardness=hardness
            * (epochs[-1] / clock) ** _HARDER_BY_CLOCK
            * (problem.weights / weights) ** -_EASIER_BY_WEIGHTS,
            threshold_decay=experiment.sparsity.threshold_decay,
        )

    @property
    def total(self) -> float:
        """Decay of the whole schedule, per unit of weight decay."""
        return self.epochs[-1]

    def left(self, epoch: int) -> float:
        """Return the share of the decay that is still to come after ``epoch`` of them."""
        return 1 - self.epochs[epoch - 1] / self.total

    def drive(self, threshold_init: float, weight_decay: float) -> float:
        """Return ``decay * clock`` less the part that passes before thresholds bite."""
        decay = weight_decay if self.threshold_decay is None else self.threshold_decay
        return decay * self.total - self.delay(threshold_init)

    def drive_after(self, settings: RunSettings, epoch: int) -> float:
        """Return the drive that a run has come to after ``epoch`` of its epochs."""
        assert settings.threshold_init is not None
        decayed = passed = 0.0
        decay = settings.weight_decay
        for correction in settings.corrections:
            if correction.after_epoch >= epoch:
                break
            until = self.epochs[correction.after_epoch - 1]
            decayed, passed = decayed + decay * (until - passed), until
            decay = correction.weight_decay
        if self.threshold_decay is not None:
            decayed, passed, decay = 0.0, 0.0, self.threshold_decay
        return (
            decayed
            + decay * (self.epochs[epoch - 1] - passed)
            - self.delay(settings.threshold_init)
        )

    def delay(self, threshold_init: float) -> float:
        """Return the part of ``decay * clock`` that passes before thresholds bite."""
        return math.log(-threshold_init / self.bite)

    def weight_decay_for(self, drive: float, threshold_init: float) -> float:
        """Return the weight decay that gives ``drive``; below 0 there is no such run."""
        return (drive + self.delay(threshold_init)) / self.total


def level_at(drive: FloatArray, hardness: float | FloatArray) -> FloatArray:
    """Return the logit of the sparsity that runs of these drives are expected to end with.

    Args:
        drive: Any shape.
        hardness: Drive at which 90 % are pruned; broadcasts to ``drive``.
    """
    eased = np.logaddexp(0.0, _KNEE * drive / hardness) / _KNEE
    return _LEVEL_90 + _STEEPNESS * np.log(np.maximum(eased, 1e-12))


def drive_for(level: float, hardness: float) -> float:
    """Return the drive at which a run is expected to end at ``level``: the inverse of the law."""
    eased = math.exp((level - _LEVEL_90) / _STEEPNESS)
    return hardness * float(np.log(np.expm1(_KNEE * eased))) / _KNEE


def _bite(experiment: Experiment, weight_scale: float) -> float:
    share = _BITING_SHARE * weight_scale / experiment.sparsity.scale
    if experiment.sparsity.function == "exp":
        return max(-math.log(share), 0.5)
    inside = min(share, 0.4)
    return max(-math.log(inside / (1 - inside)), 0.5)

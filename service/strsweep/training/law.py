"""How exposure becomes sparsity: the law that runs of one recipe follow.

*Exposure* is how much thresholds have been decayed since they began to prune: decay times the
accumulated learning rate, less the delay until they prune. Runs of one recipe end at a sparsity
that follows one curve of it, whose only unknown is ``exposure_at_90``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from strsweep.config import Experiment
from strsweep.sparsity.methods import HeldThresholds
from strsweep.training.schedule import decay_clock


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Every number that was fitted to runs; ``make bench-ablation`` prints what each is worth."""

    onset: float = 1 / 3
    """Share of the epochs before thresholds act, where runs share them."""
    fewest_steps: int = 125
    """Steps after the onset without which thresholds act from the start: with 99 of them runs of
    digits lost 1.2 points at 99 %, with 66 4.4; with 143 none."""
    delay: float = 0.6
    """Exposure from the onset until thresholds prune, in terms of ``exposure_at_90``, where
    ``threshold_init`` is ``auto``. Three times as late, 98 and 99 % lose 1 to 3 points."""
    pruning_share: float = 0.25
    """Thresholds prune from about this share of the median weight on."""
    steepness_own: float = 1.7
    steepness_shared: float = 1.5
    """Rise of the logit of sparsity per e-fold of exposure, from about 80 % on: 1.4 to 1.9 on
    digits, 1.2 to 1.3 in the paper's table 10."""
    knee: float = 4.0
    """Where the law bends from exponential, at low sparsities, to a power."""
    reference: float = 0.70
    """``exposure_at_90`` of digits_cnn on digits in 30 epochs (clock 165, 69,904 weights)."""
    by_clock: float = 0.58
    by_weights: float = 0.46
    """Longer training holds on to weights, a wide network has many to spare: exponents. The paper's
    networks get 5.0 and 11.4, where its runs show 5.5 (ResNet50) and 12 (MobileNetV1)."""
    by_optimizer: float = 3.0
    """Weights that SGD does not move are held on to longer. Under AdamW runs show 1.9 to 2.5 at 80
    and 90 % (digits_cnn, its deeper form), a vision transformer on digits twice that."""
    prior: float = 0.01
    """Weight of these guesses beside that of a finished run."""
    caution: float = 3.0
    """A run believes its own ``exposure_at_90`` by ``(1 - share of decay left)`` to this power;
    with 1 it is driven to catch up early and overshoots, which nothing undoes."""
    highest: float = 10.0
    """Largest decay of a led run, in terms of its first one; the least is 0. With 5 a transformer
    takes 4 to 5 runs for three targets, and 3 with 10 (make bench-setups)."""
    largest_cut: float = 0.1
    """Share of the kept weights that landing may prune; see ``search.goal``."""
    least_kept: float = 0.7
    """Share of the wanted weights that a run must have kept to be landed."""


FITTED = Fitted()
_CLOCK, _WEIGHTS = 165.0, 69_904
"""Of the reference."""
_LOGIT_90 = math.log(9)
_LEAST = 0.1
"""Share of the expected ``exposure_at_90`` that runs do not make us believe less of."""


def logit(share: float) -> float:
    """Return the logit of ``share``; shares nearer than 1e-6 to 0 or 1 are taken as that."""
    inside = min(max(share, 1e-6), 1 - 1e-6)
    return math.log(inside / (1 - inside))


def expit(value: float) -> float:
    """Return the share whose logit is ``value``."""
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


@dataclass(frozen=True, kw_only=True)
class Law:
    """The curve from exposure to sparsity; its unknown is the exposure at which 90 % are pruned."""

    steepness: float
    """Rise of the logit of sparsity per e-fold of exposure, from about 80 % on."""
    hold: float = 1.0
    """Of the weights' optimizer, a factor of the unknown."""
    held: HeldThresholds | None = None
    """Set if what is pruned follows the decay instead of its sum."""

    @classmethod
    def of(cls, experiment: Experiment) -> Law:
        """Return the law of runs of a recipe: its decay, its optimizer."""
        is_own, training = experiment.search.decay == "own", experiment.training
        if is_own and (held := experiment.sparsity.held) is not None:
            return cls(steepness=held.steepness, held=held)
        is_sgd = training.optimizer == "sgd" and training.loop is None
        return cls(
            steepness=FITTED.steepness_own if is_own else FITTED.steepness_shared,
            hold=1.0 if is_sgd else FITTED.by_optimizer,
        )

    def expected(self, clock: float, weights: int) -> float:
        """Return the unknown of a recipe before anything was trained.

        Args:
            clock: Accumulated learning rate of the whole schedule, or, of held thresholds, from
                where they act; see ``decay_clock``.
            weights: Convolution and linear weights of the network.
        """
        if self.held is not None:
            return self.held.decay_at_90 * clock
        longer, wider = clock / _CLOCK, weights / _WEIGHTS
        return self.hold * FITTED.reference * longer**FITTED.by_clock * wider**-FITTED.by_weights

    def level(self, exposure: float, exposure_at_90: float) -> float:
        """Return the logit of the sparsity that a run of this exposure is expected to end with."""
        eased = (
            math.log1p(math.exp(min(FITTED.knee * exposure / exposure_at_90, 500.0))) / FITTED.knee
        )
        return _LOGIT_90 + self.steepness * math.log(max(eased, 1e-12))

    def relative_exposure(self, level: float) -> float:
        """Return the exposure that leads to the logit ``level``, in terms of ``exposure_at_90``."""
        scaled = FITTED.knee * math.exp(min((level - _LOGIT_90) / self.steepness, 5.0))
        return (scaled + math.log(-math.expm1(-scaled))) / FITTED.knee

    def believe(self, expected: float, ends: Sequence[tuple[float, float]], level: float) -> Belief:
        """Fit both unknowns of a recipe to how its runs ended, by ridge regression.

        Args:
            expected: ``exposure_at_90`` before any run.
            ends: Of the runs: exposure, logit of what is pruned.
            level: Logit to be reached; runs that ended near it count most.
        """
        # The normal equations of both in terms of ``expected``; the guesses are observations, too.
        aa, ab, bb = FITTED.prior, 0.0, FITTED.prior
        ay, by = FITTED.prior, 0.0
        for exposure, end in ends:
            relative, share = self.relative_exposure(end), exposure / expected
            # Runs scatter in proportion to their exposure, and the law is a better one near by.
            weight = (max(relative, 0.5) * (1 + abs(end - level))) ** -2
            if relative < 0:  # a run that pruned next to nothing says how late thresholds are, only
                relative, share = 0.0, share - relative
            aa, ab, bb = aa + weight * relative**2, ab + weight * relative, bb + weight
            ay, by = ay + weight * relative * share, by + weight * share
        determinant = aa * bb - ab * ab
        unknown, late = (ay * bb - ab * by) / determinant, (aa * by - ab * ay) / determinant
        return Belief(exposure_at_90=max(unknown, _LEAST) * expected, late=late * expected)

    def bounded(self, belief: Belief, level: float, above: Iterable[float]) -> Belief:
        """Return a belief by which no run begins harder than one that ended above its target.

        Where a network collapses, runs follow no law, and what is fitted to them can be anything.

        Args:
            belief: Fitted to all runs.
            level: Logit to be reached.
            above: Exposures of the runs that ended above it, by their first decays.
        """
        relative, most = self.relative_exposure(level), min(above, default=math.inf)
        if min(relative, most) <= 0 or belief.exposure_for(relative) <= most:
            return belief
        return Belief(exposure_at_90=most / relative, late=0.0)


@dataclass(frozen=True, kw_only=True)
class Belief:
    """The unknowns of a recipe: ``exposure - late = exposure_at_90 * relative_exposure``."""

    exposure_at_90: float
    late: float
    """Exposure by which thresholds prune later than computed."""

    def exposure_for(self, relative: float) -> float:
        """Return the exposure that ``relative_exposure`` stands for."""
        return self.exposure_at_90 * relative + self.late


@dataclass(frozen=True, kw_only=True)
class ThresholdClock:
    """Accumulated learning rate of one recipe, from the epoch on that thresholds act in."""

    epochs: tuple[float, ...]
    """After every epoch, per unit of decay; 0 before thresholds act. See ``decay_clock``."""
    onset: int
    """Epochs before thresholds act."""

    @classmethod
    def of(cls, experiment: Experiment, steps_per_epoch: int, onset: int) -> ThresholdClock:
        """Return the clock of a run whose thresholds act after ``onset`` epochs."""
        return cls(epochs=decay_clock(experiment.training, steps_per_epoch, onset), onset=onset)

    @property
    def total(self) -> float:
        """All that passes while thresholds act."""
        return self.epochs[-1]

    def of_epoch(self, epoch: int) -> float:
        """Return what passes in ``epoch``, from 1; 0 before thresholds act."""
        return self.epochs[epoch - 1] - (self.epochs[epoch - 2] if epoch > 1 else 0.0)

    def remaining(self, epoch: int) -> float:
        """Return the share of ``total`` that is still to come after ``epoch`` epochs."""
        return 1 - (self.epochs[epoch - 1] if epoch else 0.0) / self.total

    def exposure(self, decays: Sequence[float], delay: float) -> float:
        """Return the exposure after epochs with these decays of the thresholds, from epoch 1 on."""
        return math.fsum(d * self.of_epoch(e) for e, d in enumerate(decays, start=1)) - delay

    def decay_for(self, exposure: float, delay: float) -> float:
        """Return the one decay that leads to ``exposure``; not above 0: there is none."""
        return (exposure + delay) / self.total


def pruning_level(experiment: Experiment, weight_scale: float) -> float:
    """Return ``-s`` from which on thresholds prune.

    ``weight_scale`` is the median magnitude of the weights.
    """
    share = FITTED.pruning_share * weight_scale
    return max(-experiment.sparsity.parameter_of(share), 0.5)

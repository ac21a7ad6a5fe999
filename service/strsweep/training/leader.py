"""How a run leads itself to its target: it sets the decay of each epoch by what the last one left.

Leaders are pure functions of settings and metrics: every worker computes the same, and so does a
run that is resumed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from strsweep.settings import Lead
from strsweep.sparsity.methods import HeldThresholds, acting_share
from strsweep.training import law as laws
from strsweep.training.law import Law, ThresholdClock, expit, logit

_EARLY = 0.1
"""Relative exposure, 43 % pruned, at which a run is believed by half: earlier a small error of its
delay is all that it says."""


@dataclass(frozen=True, kw_only=True)
class Leader:
    """Inverts the law, for the unknown that the run itself shows."""

    lead: Lead
    law: Law
    clock: ThresholdClock
    first_decay: float

    counts_excess: ClassVar[bool] = False
    """``next_decay`` asks for the excess of low rank."""

    def next_decay(self, used: Sequence[float], pruned: float, excess: float = 0.0) -> float:
        """Return the decay of the thresholds in the next epoch.

        Args:
            used: Decays of the epochs that are done.
            pruned: Share that is pruned after them, of what the target counts.
            excess: What factors of low rank have beyond the matrix that would be delivered in their
                place, as such a share: it must go before anything is saved.
        """
        return self.decay_at(len(used), self.clock.exposure(used, self.lead.delay), pruned)

    def decay_at(self, epoch: int, exposure: float, pruned: float) -> float:
        """Return the decay of the epoch after ``epoch``, which ended with this exposure."""
        left = self.clock.remaining(epoch)
        if epoch <= self.clock.onset or left <= 0:
            return self.first_decay
        unknown = self._believed(exposure, pruned, left)
        wanted = unknown * self.law.relative_exposure(logit(self.lead.pruned))
        low, high = self._ends
        return min(max((wanted - exposure) / (left * self.clock.total), low), high)

    def reach(self, epoch: int, exposure: float, pruned: float) -> tuple[float, float]:
        """Return the least and the most, as pruned shares, that the run is expected to end with.

        Arguments are those of ``decay_at``.
        """
        left = self.clock.remaining(epoch)
        unknown = self._believed(exposure, pruned, left)
        low, high = (
            self.law.level(exposure + decay * left * self.clock.total, unknown)
            for decay in self._ends
        )
        # It can stay where it is, and what is pruned beyond the target comes back.
        return min(expit(low), pruned, self.lead.pruned), max(expit(high), pruned)

    @property
    def _ends(self) -> tuple[float, float]:
        return 0.0, laws.FITTED.highest * self.first_decay

    def _believed(self, exposure: float, pruned: float, left: float) -> float:
        relative = self.law.relative_exposure(logit(pruned))
        if relative <= 0 or exposure <= 0:
            return self.lead.exposure_at_90
        told = relative**2 / (relative**2 + _EARLY**2)
        weight = told * (1 - left) ** laws.FITTED.caution
        return (exposure / relative) ** weight * self.lead.exposure_at_90 ** (1 - weight)


@dataclass(frozen=True, kw_only=True)
class HeldLeader(Leader):
    """Follows a plan: what is pruned is held by the decay, and does not stay without it."""

    counts_excess: ClassVar[bool] = True

    held: HeldThresholds

    def next_decay(self, used: Sequence[float], pruned: float, excess: float = 0.0) -> float:
        """See ``Leader``; once the target is reached it is the first decay again."""
        epoch, onset, epochs = len(used), self.clock.onset, len(self.clock.epochs)
        if epoch <= onset:
            return self.first_decay
        kept, wanted = 1 - pruned, 1 - self.lead.pruned
        over = acting_share(epoch, onset, epochs)
        planned = self.held.planned(wanted, over, kept)
        if over > self.held.ramp and planned <= wanted:  # it is there: what is left recovers
            return self.first_decay
        above = math.log((max(kept, 1e-6) + excess) / (planned + excess))
        return min(used[-1] * math.exp(self.held.gain * above), self.held.most)

    def reach(self, epoch: int, exposure: float, pruned: float) -> tuple[float, float]:
        """See ``Leader``; it is not judged before its end."""
        return 0.0, 1.0


def leader_of(law: Law, lead: Lead, clock: ThresholdClock, first_decay: float) -> Leader:
    """Return what leads a run of a recipe that follows ``law``."""
    if law.held is None:
        return Leader(lead=lead, law=law, clock=clock, first_decay=first_decay)
    return HeldLeader(lead=lead, law=law, clock=clock, first_decay=first_decay, held=law.held)

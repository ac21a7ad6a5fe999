"""Where a run must end so that it can be landed on its target without harm."""

from __future__ import annotations

from dataclasses import dataclass

SMALLEST_LIMIT, LIMIT_OF_KEPT = 0.05, 0.5
"""Landing may prune 2 % of the kept weights, or half the kept share of them where that is more.

On digits (25 runs that ended at 80 to 99 %, batch norm recalibrated) a cut of 2 % changed accuracy
by -0.08 +- 0.05 points and left the validation loss where it was. Near 98 and 99 % a cut of 5 %
cost 0.5 and 0.6 points, and one of 10 % 1.1 and 2.8; at 80 and 90 % a cut of 10 % cost nothing.
"""
LEAST_KEPT = 0.72
"""Landing may give back as many weights as the run has kept.

On digits that cost the run nothing, nor did 5 points at 80 to 95 %: -0.00 +- 0.11 and 0.09 +- 0.10
points of accuracy, with a lower loss. From runs that had kept far less (within 2 points of 98 and
99 %: almost nothing) models were 4 to 8 points worse than from nearer; with this limit 2 at most.
"""


@dataclass(frozen=True)
class Window:
    """Pruned shares from ``low`` to ``high``, both included."""

    low: float
    high: float

    @classmethod
    def around(cls, pruned: float, tolerance: float) -> Window:
        """Return the window around a wanted share.

        Above it landing gives weights back: the run must have kept ``LEAST_KEPT`` of those wanted.
        Below it landing has to prune more of what is kept, which ``largest_cut`` limits.

        Args:
            pruned: Wanted share, of weights or multiply-adds, in (0, 1).
            tolerance: Largest distance, as a fraction.
        """
        kept = 1 - pruned
        return cls(
            low=max(pruned - tolerance, 1 - kept / (1 - largest_cut(kept))),
            high=min(pruned + tolerance, 1 - kept * LEAST_KEPT),
        )

    def __contains__(self, share: float) -> bool:
        return self.low <= share <= self.high


def largest_cut(kept: float) -> float:
    """Return the largest share of the kept weights that landing may prune.

    Args:
        kept: Share of weights or multiply-adds that the target keeps.
    """
    return max(SMALLEST_LIMIT, LIMIT_OF_KEPT * kept)

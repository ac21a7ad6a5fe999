"""Where a run must end so that it can be landed on its target without harm."""

from __future__ import annotations

from dataclasses import dataclass

SMALLEST_LIMIT, LIMIT_OF_KEPT = 0.02, 0.5
"""Landing may prune 2 % of the kept weights, or half the kept share of them where that is more.

On digits (25 runs that ended at 80 to 99 %, batch norm recalibrated) a cut of 2 % changed accuracy
by -0.08 +- 0.05 points and left the validation loss where it was. Near 98 and 99 % a cut of 5 %
cost 0.5 and 0.6 points, and one of 10 % 1.1 and 2.8; at 80 and 90 % a cut of 10 % cost nothing.
Landing down cost nothing up to twice the kept weights, or 5 points: -0.00 +- 0.11 and
0.09 +- 0.10, with a lower loss. So above a target only the tolerance limits.
"""


@dataclass(frozen=True)
class Window:
    """Pruned shares from ``low`` to ``high``, both included."""

    low: float
    high: float

    @classmethod
    def around(cls, pruned: float, tolerance: float) -> Window:
        """Return the window around a wanted share.

        Above it the tolerance is the limit: landing down gives weights back. Below it landing has
        to prune more of what is kept, which ``largest_cut`` limits.

        Args:
            pruned: Wanted share, of weights or multiply-adds, in (0, 1).
            tolerance: Largest distance, as a fraction.
        """
        smallest = 1 - (1 - pruned) / (1 - largest_cut(1 - pruned))
        return cls(low=max(pruned - tolerance, smallest), high=pruned + tolerance)

    def __contains__(self, share: float) -> bool:
        return self.low <= share <= self.high


def largest_cut(kept: float) -> float:
    """Return the largest share of the kept weights that landing may prune.

    Args:
        kept: Share of weights or multiply-adds that the target keeps.
    """
    return max(SMALLEST_LIMIT, LIMIT_OF_KEPT * kept)

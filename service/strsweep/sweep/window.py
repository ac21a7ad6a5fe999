"""Where a run must end so that it can be landed on its target without harm."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_CUT = 0.10
"""Largest share of the kept weights that landing may prune."""


@dataclass(frozen=True)
class Window:
    """Pruned shares from ``low`` to ``high``, both included."""

    low: float
    high: float

    @classmethod
    def around(cls, pruned: float, tolerance: float) -> Window:
        """Return the window around a wanted share.

        Above it the tolerance is the limit: landing down gives weights back. Below it landing has
        to prune more of what is kept, at most ``LARGEST_CUT`` of that.

        Args:
            pruned: Wanted share, of weights or multiply-adds, in (0, 1).
            tolerance: Largest distance, as a fraction.
        """
        smallest = 1 - (1 - pruned) / (1 - LARGEST_CUT)
        return cls(low=max(pruned - tolerance, smallest), high=pruned + tolerance)

    def __contains__(self, share: float) -> bool:
        return self.low <= share <= self.high

"""Where a run must end so that it can be landed on its target without harm."""

from __future__ import annotations

from dataclasses import dataclass

SMALLEST_LIMIT, LIMIT_OF_KEPT = 0.05, 0.5
"""Landing may prune 5 % of the kept weights, or half the kept share of them where that is more.

On digits and its deeper network runs that ended between 98.95 and 99.05 % gave models of 95.9 and
98.9 % accuracy at 99 %. From 98.8 to 98.9 %, cut by 10 to 20 %, it was 94.9 and 98.1 %, and from
below that 76 and 95 %; at 80 and 90 % a cut of 10 % cost nothing.
"""
LEAST_KEPT, LEAST_OF_FEW, FEW = 0.5, 0.72, 0.01
"""Share of the wanted weights that a run must have kept: half, and more where 1 % or so is wanted.

Giving weights back costs a run nothing, but does not make up for what it lacks. Models at 99 % were
of 94.4 and 98.7 % accuracy from runs between 99.15 and 99.25 %, of 93.2 and 98.0 % from the next
0.1 points, and of 90.7 and 97.5 % from beyond 99.42 %. At 80 to 95 % 5 points cost nothing.
"""


@dataclass(frozen=True)
class Window:
    """Pruned shares from ``low`` to ``high``, both included."""

    low: float
    high: float

    @classmethod
    def around(cls, pruned: float, tolerance: float) -> Window:
        """Return the window around a wanted share.

        Above it landing gives weights back: ``least_kept`` says how many the run must have kept.
        Below it landing has to prune more of what is kept, which ``largest_cut`` limits.

        Args:
            pruned: Wanted share, of weights or multiply-adds, in (0, 1).
            tolerance: Largest distance, as a fraction.
        """
        kept = 1 - pruned
        return cls(
            low=max(pruned - tolerance, 1 - kept / (1 - largest_cut(kept))),
            high=min(pruned + tolerance, 1 - kept * least_kept(kept)),
        )

    def __contains__(self, share: float) -> bool:
        return self.low <= share <= self.high


def least_kept(kept: float) -> float:
    """Return the share of the wanted weights that a run must have kept.

    Args:
        kept: Share of weights or multiply-adds that the target keeps.
    """
    return LEAST_KEPT + (LEAST_OF_FEW - LEAST_KEPT) * min(1.0, FEW / kept)


def largest_cut(kept: float) -> float:
    """Return the largest share of the kept weights that landing may prune.

    Args:
        kept: Share of weights or multiply-adds that the target keeps.
    """
    return max(SMALLEST_LIMIT, LIMIT_OF_KEPT * kept)

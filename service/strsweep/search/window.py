"""Where a run must end so that it can be landed on its target without harm."""

from __future__ import annotations

from dataclasses import dataclass

from strsweep.training import law


@dataclass(frozen=True)
class Window:
    """Pruned shares from ``low`` to ``high``, both included."""

    low: float
    high: float

    @classmethod
    def around(cls, pruned: float, tolerance: float | None) -> Window:
        """Return the window around a wanted share.

        Below it landing prunes more of what the run kept, which costs accuracy: at most
        ``Fitted.largest_cut`` of that. Above it landing gives weights back, which costs nothing but
        does not make up for what the run lacks: it must have kept ``Fitted.least_kept`` of them.

        Args:
            pruned: Wanted share, of weights or multiply-adds, in (0, 1).
            tolerance: Largest distance, as a fraction; None: as far as landing is harmless.
        """
        kept = 1 - pruned
        low = max(1 - kept / (1 - law.FITTED.largest_cut), 0.0)
        high = 1 - kept * law.FITTED.least_kept
        if tolerance is None:
            return cls(low=low, high=high)
        return cls(low=max(pruned - tolerance, low), high=min(pruned + tolerance, high))

    def __contains__(self, share: float) -> bool:
        return self.low <= share <= self.high

"""An axis of what is left, in a logarithm: 98 and 99 % sparse differ as much as 80 and 90 %."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from strsweep.settings import percent

_MARGIN = 0.08
"""Share of the axis that stays free at both ends."""
LEAST = 1e-4
"""Shares below are drawn here: a logarithm knows no zero."""
_ROUND = (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 5e-4, 2e-4, 1e-4)
APART = 0.1
"""Labels nearer than this share of an axis could touch."""


class ShareAxis(NamedTuple):
    """Shares that are left, from many to few."""

    most: float
    least: float
    ticks: tuple[float, ...]

    def layout(self, title: str, *, is_pruned_shown: bool) -> dict[str, object]:
        """Return the axis for plotly; 0.05 left is 95 % if what is pruned is shown, else 5 %."""
        return {
            "type": "log",
            "range": [math.log10(self.most), math.log10(self.least)],
            "tickvals": self.ticks,
            "ticktext": [percent(1 - tick if is_pruned_shown else tick) for tick in self.ticks],
            "title": {"text": title},
            "showgrid": False,
            "tickangle": 0,
        }


def share_axis(left: Iterable[float], targets: Sequence[float]) -> ShareAxis:
    """Return an axis of all shares in ``left``; it labels ``targets`` before round ones."""
    drawn = [max(share, LEAST) for share in (*left, *targets)] or [1.0, 0.01]
    low, high = math.log(min(drawn)), math.log(max(drawn))
    room = max((high - low) * _MARGIN, (math.log(2) * (1 + 2 * _MARGIN) - (high - low)) / 2)
    low, high = low - room, high + room
    kept: list[float] = []
    for share in (max(share, LEAST) for share in (*targets, *_ROUND)):
        place = math.log(share)
        has_room = all(abs(place - math.log(other)) >= APART * (high - low) for other in kept)
        if low <= place <= high and has_room:
            kept.append(share)
    return ShareAxis(math.exp(high), math.exp(low), tuple(sorted(kept, reverse=True)))


def left_of(pruned: float) -> float:
    """Return what is left where ``pruned`` is gone, as it is drawn."""
    return max(1 - pruned, LEAST)

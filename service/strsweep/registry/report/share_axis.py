"""An axis of what is left, in a logarithm: 98 and 99 % sparse differ as much as 80 and 90 %."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

_MARGIN = 0.08
"""Share of the axis that stays free at both ends."""
LEAST = 1e-4
"""Shares below are drawn here: a logarithm knows no zero."""
_ROUND = (1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 5e-4, 2e-4, 1e-4)
ACROSS, UP = 0.1, 0.06
"""Labels nearer than this share of an axis would touch: side by side, and one above another."""


@dataclass(frozen=True)
class ShareAxis:
    """Shares that are left, from many to few."""

    most: float
    least: float
    ticks: tuple[float, ...]

    def layout(self, title: str, *, is_pruned_shown: bool) -> dict[str, Any]:
        """Return the axis for plotly.

        Args:
            title: Of the axis.
            is_pruned_shown: Label 0.05 left as 95 %, which is pruned, and not as 5 %.
        """
        shown = [1 - tick if is_pruned_shown else tick for tick in self.ticks]
        return {
            "type": "log",
            "range": [math.log10(self.most), math.log10(self.least)],
            "tickvals": list(self.ticks),
            "ticktext": [f"{share * 100:.6g} %" for share in shown],
            "title": {"text": title},
            "showgrid": False,
            "tickangle": 0,
        }


def share_axis(left: Iterable[float], targets: Sequence[float], apart: float = ACROSS) -> ShareAxis:
    """Return an axis that shows all of ``left``, and labels ``targets`` before round numbers.

    Args:
        left: Shares that are drawn.
        targets: Shares that get a label if there is room.
        apart: Share of the axis that two labels keep between them.
    """
    drawn = [max(share, LEAST) for share in (*left, *targets)] or [1.0, 0.01]
    low, high = math.log(min(drawn)), math.log(max(drawn))
    if high - low < math.log(2):
        low, high = low - math.log(2) / 2, high + math.log(2) / 2
    room = (high - low) * _MARGIN
    low, high = low - room, high + room
    kept: list[float] = []
    for share in (*targets, *_ROUND):
        place = math.log(max(share, LEAST))
        has_room = all(abs(place - math.log(other)) >= apart * (high - low) for other in kept)
        if low <= place <= high and has_room:
            kept.append(max(share, LEAST))
    return ShareAxis(math.exp(high), math.exp(low), tuple(sorted(kept, reverse=True)))


def left_of(pruned: float) -> float:
    """Return what is left where ``pruned`` is gone, as it is drawn."""
    return max(1 - pruned, LEAST)

"""The search: what was tried in which order, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from strsweep.registry.report.contents import SweepContents
from strsweep.registry.report.runs import RunRow
from strsweep.registry.report.share_axis import UP, left_of, share_axis
from strsweep.registry.report.style import (
    BLUE,
    GREY,
    ORANGE,
    STATE_SYMBOLS,
    chart_layout,
    markers,
    run_hover,
)

_Point = tuple[float, float, str, str]


def aim_and_outcome(contents: SweepContents) -> dict[str, Any] | None:
    """Return run by run what it aimed at, and how it ended; None if nothing was to be pruned."""
    numbered = [each for each in enumerate(contents.runs, start=1) if not each[1].role]
    aims = [_at(number, run.aimed_at, run) for number, run in numbered if run.aimed_at is not None]
    traces = [
        markers("aim", aims, symbol="line-ew-open", size=18, color=ORANGE, line={"width": 3}),
        _outcomes("outcome", numbered, "finished", BLUE),
        _outcomes("stopped at", numbered, "stopped", GREY),
        _outcomes("failed at", numbered, "failed", "#e5484d"),
        _outcomes("under way", numbered, "under way", GREY),
    ]
    traces = [trace for trace in traces if trace["x"]]
    if not traces:
        return None
    drawn = [value for trace in traces for value in trace["y"]]
    axis = share_axis(drawn, [aim[1] for aim in aims], UP)
    return {
        "data": traces,
        "layout": chart_layout(
            xaxis=_run_axis(contents.runs),
            yaxis=axis.layout(_pruned([run for _, run in numbered]), is_pruned_shown=True),
        ),
    }


def _at(number: int, pruned: float, run: RunRow) -> _Point:
    return float(number), left_of(pruned), run_hover(run), run.link


def _outcomes(
    name: str, numbered: list[tuple[int, RunRow]], state: str, shade: str
) -> dict[str, Any]:
    points = [
        _at(number, run.pruned, run)
        for number, run in numbered
        if run.state == state and run.pruned is not None
    ]
    return markers(name, points, symbol=STATE_SYMBOLS[state], size=9, color=shade)


def _pruned(runs: Sequence[RunRow]) -> str:
    quantities = {run.quantity for run in runs}
    return "sparsity" if quantities == {"sparsity"} else "pruned share of weights or MACs"


def _run_axis(runs: tuple[RunRow, ...]) -> dict[str, Any]:
    step = max(1, len(runs) // 12)
    return {
        "title": {"text": "run, in the order they were tried"},
        "range": [0.4, len(runs) + 0.6],
        "tickvals": list(range(1, len(runs) + 1, step)),
        "showgrid": False,
    }

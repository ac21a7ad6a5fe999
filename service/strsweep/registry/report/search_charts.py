"""The search: what was tried in which order, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from strsweep.registry.report.contents import SweepContents
from strsweep.registry.report.fronts import target_line
from strsweep.registry.report.runs import RunRow
from strsweep.registry.report.share_axis import UP, left_of, share_axis
from strsweep.registry.report.style import (
    BLUE,
    GREY,
    ORANGE,
    STATE_SYMBOLS,
    chart_layout,
    color,
    log_axis,
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


def settings_and_outcome(contents: SweepContents) -> dict[str, Any] | None:
    """Return final sparsity over the setting that was searched; None if nothing was."""
    ended = [run for run in contents.runs if run.state == "finished" and not run.role]
    setting, values = _searched(ended)
    if len(set(values)) < 2:
        return None
    points = [
        (value, left_of(run.sparsity or 0.0), run_hover(run), run.link)
        for run, value in zip(ended, values, strict=True)
    ]
    trace = markers("finished run", points, symbol="circle", size=9, color=color(0))
    targets = [left_of(t.pruned) for t in contents.targets if t.quantity == "sparsity"]
    axis = share_axis([point[1] for point in points], targets, UP)
    return {
        "data": [trace],
        "layout": chart_layout(
            xaxis=log_axis(setting, values),
            yaxis=axis.layout("sparsity (dotted: targets)", is_pruned_shown=True),
            shapes=[target_line("y", target) for target in targets],
            showlegend=False,
        ),
    }


def _searched(runs: list[RunRow]) -> tuple[str, list[float]]:
    decays = [run.threshold_decay or run.weight_decay for run in runs]
    if len(set(decays)) > 1:
        return "decay of the thresholds (mean over the epochs)", decays
    return "-threshold init", [-(run.threshold_init or 0.0) for run in runs]


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

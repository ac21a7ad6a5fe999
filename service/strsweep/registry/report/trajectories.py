"""How sparsity and accuracy went, epoch by epoch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from strsweep.registry.report.contents import SweepContents
from strsweep.registry.report.fronts import target_line
from strsweep.registry.report.runs import RunRow
from strsweep.registry.report.share_axis import UP, left_of, share_axis
from strsweep.registry.report.style import (
    GREY,
    STATE_SYMBOLS,
    accuracy_axis,
    chart_layout,
    color,
    markers,
    run_hover,
)

_Value = Callable[[dict[str, float | str]], float]
_Epochs = list[dict[str, float | str]]
_POINTS = 30_000
"""What one chart may draw; of longer sweeps only every second epoch is drawn, or every third."""


def sparsity_over_epochs(contents: SweepContents) -> dict[str, Any]:
    """Return one line per run, coloured by what it aims at; stopped runs end in a cross."""
    targets = [left_of(t.pruned) for t in contents.targets if t.quantity == "sparsity"]
    traces = _traces(contents, lambda epoch: left_of(float(epoch["sparsity"])), "%{y:.2%} left")
    drawn = [value for trace in traces for value in trace["y"]]
    axis = share_axis(drawn, targets, UP).layout("sparsity", is_pruned_shown=True)
    return {
        "data": traces,
        "layout": chart_layout(
            xaxis={"title": {"text": "epoch"}, "rangemode": "tozero"},
            yaxis=axis,
            shapes=[target_line("y", target) for target in targets],
        ),
    }


def accuracy_over_epochs(contents: SweepContents) -> dict[str, Any]:
    """Return the validation accuracy in the same way."""
    return {
        "data": _traces(contents, lambda epoch: float(epoch["accuracy"]) * 100, "%{y:.2f} %"),
        "layout": chart_layout(
            xaxis={"title": {"text": "epoch"}, "rangemode": "tozero"}, yaxis=accuracy_axis()
        ),
    }


def _traces(contents: SweepContents, value: _Value, shown: str) -> list[dict[str, Any]]:
    epochs: dict[str, _Epochs] = defaultdict(list)
    for epoch in contents.epochs:
        epochs[str(epoch["run_id"])].append(epoch)
    step = -(-len(contents.epochs) // _POINTS)
    aims = [target.name for target in contents.targets]
    aims += [run.purpose for run in contents.runs if run.purpose not in aims]
    aimless = {"", *(run.role for run in contents.runs)}
    colors = {aim: GREY if aim in aimless else color(index) for index, aim in enumerate(aims)}
    drawn = [run for run in contents.runs if run.run_id in epochs]
    in_legend: dict[str, str] = {}
    for run in sorted(drawn, key=lambda run: run.state != "finished"):  # a solid line, if any
        in_legend.setdefault(run.purpose, run.run_id)
    lines = [
        _line(run, _thinned(epochs[run.run_id], step), value, colors[run.purpose], shown)
        | {
            "showlegend": in_legend[run.purpose] == run.run_id,
            "legendrank": aims.index(run.purpose),
        }
        for run in drawn
    ]
    ends = [(run, epochs[run.run_id][-1]) for run in drawn]
    return [*lines, _ends(ends, value, colors)]


def _thinned(epochs: _Epochs, step: int) -> _Epochs:
    """Return every ``step``-th epoch, and always the last."""
    return [*epochs[:-1:step], epochs[-1]]


def _line(run: RunRow, epochs: _Epochs, value: _Value, shade: str, shown: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": run.role or (f"aims at {escape(run.aim)}" if run.aim else "without an aim"),
        "legendgroup": run.purpose,
        "x": [epoch["epoch"] for epoch in epochs],
        "y": [_short(value(epoch)) for epoch in epochs],
        "hovertemplate": f"{run_hover(run)}<br>epoch %{{x}}: {shown}<extra></extra>",
        "meta": run.link,
        "line": {
            "color": shade,
            "width": 1.5,
            "dash": "solid" if run.state == "finished" else "dot",
        },
    }


def _ends(
    ends: Sequence[tuple[RunRow, dict[str, float | str]]],
    value: _Value,
    colors: Mapping[str, str],
) -> dict[str, Any]:
    """Return the marks at the ends of the lines: how a run ended."""
    points = [(float(epoch["epoch"]), _short(value(epoch)), "", "") for _, epoch in ends]
    trace = markers(
        "at the end",
        points,
        size=8,
        symbol=[STATE_SYMBOLS[run.state] for run, _ in ends],
        color=[colors[run.purpose] for run, _ in ends],
    )
    return trace | {"showlegend": False, "hoverinfo": "skip"}


def _short(value: float) -> float:
    return float(f"{value:.6g}")

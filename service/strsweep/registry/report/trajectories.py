"""How sparsity and accuracy of every run went, epoch by epoch."""

from __future__ import annotations

from collections import defaultdict
from html import escape
from typing import Any

from strsweep.registry.report.contents import SweepContents
from strsweep.registry.report.fronts import target_line
from strsweep.registry.report.runs import RunRow
from strsweep.registry.report.share_axis import UP, left_of, share_axis
from strsweep.registry.report.style import (
    GREY,
    accuracy_axis,
    chart_layout,
    color,
    settings_text,
)

_Epochs = list[dict[str, float | str]]
_ENDS = {"stopped": "x", "failed": "cross", "finished": "circle", "under way": "circle-open"}


def sparsity_over_epochs(contents: SweepContents) -> dict[str, Any]:
    """Return one line per run, coloured by what it aims at; stopped runs end in a cross."""
    targets = [left_of(t.pruned) for t in contents.targets if t.quantity == "sparsity"]
    traces = _traces(contents, lambda epoch: left_of(float(epoch["sparsity"])))
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
        "data": _traces(contents, lambda epoch: float(epoch["accuracy"]) * 100),
        "layout": chart_layout(
            xaxis={"title": {"text": "epoch"}, "rangemode": "tozero"}, yaxis=accuracy_axis()
        ),
    }


def _traces(contents: SweepContents, value: Any) -> list[dict[str, Any]]:
    epochs: dict[str, _Epochs] = defaultdict(list)
    for epoch in contents.epochs:
        epochs[str(epoch["run_id"])].append(epoch)
    aims = [target.name for target in contents.targets]
    aims += [run.aim for run in contents.runs if run.aim not in aims]
    colors = {aim: color(index) if aim else GREY for index, aim in enumerate(aims)}
    drawn = [run for run in contents.runs if run.run_id in epochs]
    in_legend: dict[str, str] = {}
    for run in sorted(drawn, key=lambda run: run.state != "finished"):  # a solid line, if any
        in_legend.setdefault(run.aim, run.run_id)
    return [
        _trace(run, epochs[run.run_id], value, colors[run.aim])
        | {"showlegend": in_legend[run.aim] == run.run_id, "legendrank": aims.index(run.aim)}
        for run in drawn
    ]


def _trace(run: RunRow, epochs: _Epochs, value: Any, shade: str) -> dict[str, Any]:
    sizes = [0] * (len(epochs) - 1) + [8]  # only the end is marked
    about = f"<b>{escape(run.run_id)}</b> · {run.state}<br>{settings_text(run)}"
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": f"aims at {escape(run.aim)}" if run.aim else "without an aim",
        "legendgroup": run.aim,
        "x": [epoch["epoch"] for epoch in epochs],
        "y": [value(epoch) for epoch in epochs],
        "hovertemplate": about + "<br>epoch %{x}: sparsity %{customdata[0]:.2f} %"
        ", accuracy %{customdata[1]:.2f} %<extra></extra>",
        "customdata": [
            [float(epoch["sparsity"]) * 100, float(epoch["accuracy"]) * 100] for epoch in epochs
        ],
        "line": {
            "color": shade,
            "width": 1.5,
            "dash": "solid" if run.state == "finished" else "dot",
        },
        "marker": {
            "size": sizes,
            "symbol": _ENDS[run.state],
            "color": shade,
            "line": {"width": 0},
        },
    }

"""The charts: what sparsity costs, how training came there, and where it lies in the layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from strsweep.registry.report.contents import SweepContents
from strsweep.registry.report.share_axis import left_of, share_axis
from strsweep.registry.report.table import Row
from strsweep.settings import Metric, Quantity, percent

_Value = Callable[[dict[str, float]], float]
_GREY, _BLUE, _ORANGE = "#8a8f98", "#3b82f6", "#e8710a"
_COLORS = (_BLUE, _ORANGE, "#2aa876", "#c04fd0", "#b58900", "#e5484d", "#17a2b8", "#9a6a4f")
"""They lie between black and white, and read on light and on dark; they repeat after eight."""
_MARKS: dict[str, dict[str, Any]] = {
    "finished": {"name": "finished run", "marker": {"size": 9, "color": _GREY}},
    "stopped": {"name": "stopped run", "marker": {"size": 8, "color": _GREY, "symbol": "x"}},
    "under way": {"marker": {"size": 9, "color": _GREY, "symbol": "circle-open"}},
    "as trained": {"name": "delivered as trained", "marker": {"color": _BLUE}},
    "landed": {"name": "delivered, landed", "marker": {"color": _ORANGE}},
}
"""State of a run or model -> how the front shows it."""
_POINTS = 30_000
"""What one chart may draw; of longer sweeps only every second epoch is drawn, or every third."""
_CELLS, _COLUMNS = 240, 16
"""More cells of a map hold no number that can be read, more models have no room."""
_LEVELS = (0, 0.5, 0.9, 0.99, 0.999)
_DOTTED = {"color": _GREY, "width": 1, "dash": "dot"}


def sweep_charts(sweep: SweepContents) -> dict[str, go.Figure]:
    """Return the charts of a sweep that have something to show, by element id."""
    metric, layers, targets = sweep.metric, shown_layers(sweep), _targets(sweep, "sparsity")
    shares = [100 * row.values["macs_share"] for row in layers]
    depths = [-math.log10(left_of(row.values["sparsity"])) for row in layers]
    levels = {"tickvals": [-math.log10(1 - level) for level in _LEVELS]}
    levels |= {"ticktext": [*map(percent, _LEVELS)]}
    left = [left_of(epoch["sparsity"]) for epochs in sweep.epochs.values() for epoch in epochs]
    charts = {
        "front-sparsity": front([sweep], "sparsity"),
        "front-macs": front([sweep], "macs"),
        "sparsity-epochs": _over_epochs(
            sweep,
            lambda epoch: left_of(epoch["sparsity"]),
            "%{y:.2%} left",
            share_axis(left, targets).layout("sparsity", is_pruned_shown=True),
        ),
        "score-epochs": _over_epochs(
            sweep,
            lambda epoch: _scaled(metric, metric.of(epoch)),
            "%{y:.2f} %" if metric.is_share else "%{y:.4g}",
            _score_axis(metric),
        ),
        "layer-sparsity": _map(layers, "sparsity", depths, zmax=max([1, *depths]), colorbar=levels),
        "layer-macs": _map(layers, "macs_share", shares, colorbar={"ticksuffix": " %"}),
        "thresholds": _thresholds(layers),
    }
    for target in targets:
        charts["sparsity-epochs"].add_hline(target, line=_DOTTED, layer="below")
    return {name: chart for name, chart in charts.items() if chart.data}


def shown_layers(sweep: SweepContents) -> list[Row]:
    """Return the layers of the newest models, as many as a chart has room for."""
    newest = set(_distinct(sweep.layers, "model")[-_COLUMNS:])
    return [row for row in sweep.layers if row.values["model"] in newest]


def front(sweeps: Sequence[SweepContents], quantity: Quantity) -> go.Figure:
    """Return the scores over sparsity, or over multiply-adds; empty if nothing was pruned yet.

    Every target is a dotted line, the dense network a dashed one. Marks are told apart by state,
    or by sweep if there are several; then a line joins the models of each.
    """
    metric, is_sparsity, is_one = sweeps[0].metric, quantity == "sparsity", len(sweeps) == 1
    targets = list(dict.fromkeys(left for sweep in sweeps for left in _targets(sweep, quantity)))
    title = ("sparsity" if is_sparsity else "MACs left") + (" (dotted: targets)" if targets else "")
    rows = [row for sweep in sweeps for row in _on_front(sweep)]
    # A run that was stopped early lies outside: it would press the rest together.
    ended = [row for row in rows if row.values["state"] not in {"stopped", "under way"}] or rows
    axis = share_axis([_left(row, quantity) for row in ended], targets)
    dense = [sweep.dense_score for sweep in sweeps if sweep.dense_score is not None]
    scores = [row.values[metric.name] for row in ended] + dense
    chart = _figure(
        _by_state(sweeps[0], quantity) if is_one else _by_sweep(sweeps, quantity),
        xaxis=axis.layout(title, is_pruned_shown=is_sparsity),
        yaxis=_score_axis(metric, scores),
    )
    for left in targets:
        chart.add_vline(left, line=_DOTTED, layer="below")
    for index, sweep in enumerate(sweeps):
        if sweep.dense_score is not None:
            shade = _GREY if is_one else _COLORS[index % len(_COLORS)]
            label = {"text": f"dense {metric.text(sweep.dense_score)}", "textposition": "end"}
            chart.add_hline(
                _scaled(metric, sweep.dense_score),
                line={"color": shade, "width": 1.5, "dash": "dash"},
                label={**label, "yanchor": "bottom", "font": {"color": shade, "size": 11}},
                layer="below",
            )
    return chart


def _by_state(sweep: SweepContents, quantity: Quantity) -> list[go.Scatter]:
    traces: list[go.Scatter] = []
    for state, style in _MARKS.items():
        own = [row for row in _on_front(sweep) if row.values["state"] == state]
        trace = _marks(sweep, own, quantity, **{"name": state, **style})
        if state in {"as trained", "landed"}:
            trace.update(mode="markers+text", textposition="bottom center", cliponaxis=False)
            trace.update(marker={"size": 13, "symbol": "diamond"}, textfont=style["marker"])
        traces += [trace] if own else []
    return traces


def _by_sweep(sweeps: Sequence[SweepContents], quantity: Quantity) -> list[go.Scatter]:
    traces: list[go.Scatter] = []
    for index, sweep in enumerate(sweeps):
        name, shade, models = escape(sweep.title), _COLORS[index % len(_COLORS)], sweep.delivered
        runs = [row for row in _on_front(sweep) if row.values["state"] == "finished"]
        small = {"size": 6, "color": shade, "opacity": 0.45}
        few = _marks(sweep, runs, quantity, name=f"{name}: runs", marker=small)
        line = _marks(sweep, models, quantity, name=name, mode="lines+markers")
        line.update(marker={"symbol": "diamond", "size": 11, "color": shade})
        traces += [few.update(showlegend=not models)] if runs else []
        traces += [line.update(line={"width": 1.5, "color": shade})] if models else []
    return traces


def _on_front(sweep: SweepContents) -> list[Row]:
    """Return the pruned runs and the models that have a place there."""
    runs = [run for run in sweep.runs if not run.values["role"] and run.values["state"] != "failed"]
    return [row for row in [*runs, *sweep.delivered] if row.values[sweep.metric.name] is not None]


def _left(row: Row, quantity: Quantity) -> float:
    is_sparsity = quantity == "sparsity"
    return left_of(row.values["sparsity"] if is_sparsity else 1 - row.values["macs_share"])


def _marks(sweep: SweepContents, rows: list[Row], quantity: Quantity, **style: Any) -> go.Scatter:
    """Return a mark per row, from dense to sparse, and the scores that have room beside it."""
    metric, rows = sweep.metric, sorted(rows, key=lambda row: -_left(row, quantity))
    places = [_left(row, quantity) for row in rows]
    has_room = [before / place > 1.3 for before, place in pairwise([2.0, *places])]
    scores = [row.values[metric.name] for row in rows]
    return go.Scatter(
        x=places,
        y=[_scaled(metric, score) for score in scores],
        text=[metric.text(score) * room for score, room in zip(scores, has_room, strict=True)],
        hovertext=[row.hover for row in rows],
        hoverinfo="text",
        customdata=[row.link for row in rows],
        **{"mode": "markers", **style},
    )


def _targets(sweep: SweepContents, quantity: Quantity) -> list[float]:
    targets = [t for t in sweep.experiment.search.targets if t.quantity == quantity]
    return [left_of(target.pruned(sweep.problem.dense_macs)) for target in targets]


def _over_epochs(sweep: SweepContents, value: _Value, shown: str, yaxis: Any) -> go.Figure:
    """Return a line per run, coloured by what it is for; of an unfinished one it is dotted."""
    step = -(-sum(map(len, sweep.epochs.values())) // _POINTS)
    asked = [str(target) for target in sweep.experiment.search.targets]
    traces: dict[str, list[go.Scatter]] = {}
    runs = [run for run in sweep.runs if sweep.epochs[run.values["run_id"]]]
    for run in sorted(runs, key=lambda run: run.values["state"] != "finished"):
        epochs, purpose = sweep.epochs[run.values["run_id"]], run.values["purpose"]
        drawn = [*epochs[:-1:step], epochs[-1]]
        color = _COLORS[asked.index(purpose) % len(_COLORS)] if purpose in asked else _GREY
        dash = "solid" if run.values["state"] == "finished" else "dot"
        line = go.Scatter(
            mode="lines",
            name=escape(purpose) or "without an aim",
            legendgroup=purpose,
            showlegend=purpose not in traces,
            x=[epoch["epoch"] for epoch in drawn],
            y=[float(f"{value(epoch):.6g}") for epoch in drawn],
            hovertemplate=f"{run.hover}<br>epoch %{{x}}: {shown}<extra></extra>",
            meta=run.link,
            line={"color": color, "width": 1.5, "dash": dash},
        )
        traces.setdefault(purpose, []).append(line)
    lines = [line for lines in traces.values() for line in lines]
    return _figure(lines, xaxis={"title": {"text": "epoch"}, "rangemode": "tozero"}, yaxis=yaxis)


def _map(layers: list[Row], key: str, values: list[float], **style: Any) -> go.Figure:
    """Return a cell per layer of every model; white numbers read on all of its colours."""
    trace = go.Heatmap(
        x=[escape(row.values["model"]) for row in layers],
        y=[escape(row.values["name"]) for row in layers],
        z=values,
        zmin=0,
        text=[f"{100 * row.values[key]:.1f}" for row in layers],
        texttemplate="%{text}" if len(layers) <= _CELLS else "",
        hovertext=[row.hover for row in layers],
        hoverinfo="text",
        **style,
    )
    return _figure(
        [trace] if layers else [],
        height=max(220, 110 + 18 * len(_distinct(layers, "name"))),
        xaxis={"type": "category", "side": "top", "showgrid": False},
        yaxis={"type": "category", "autorange": "reversed", "dtick": 1, "showgrid": False},
    )


def _thresholds(layers: list[Row]) -> go.Figure:
    """Return the final threshold of every layer, a line per model."""
    layers = [row for row in layers if (row.values["threshold"] or 0) > 0]
    traces: list[go.Scatter] = []
    for index, model in enumerate(_distinct(layers, "model")):
        own = [row for row in layers if row.values["model"] == model]
        traces += [
            go.Scatter(
                mode="lines+markers",
                name=escape(model),
                x=[escape(row.values["name"]) for row in own],
                y=[row.values["threshold"] for row in own],
                hovertext=[row.hover for row in own],
                hoverinfo="text",
                line={"color": _COLORS[index % len(_COLORS)], "width": 1.5},
                marker={"size": 7},
            )
        ]
    values = [row.values["threshold"] for row in layers] or [1.0]
    # Over less than a decade plotly's own ticks are better.
    ticks = {"dtick": "D2"} if max(values) >= 8 * min(values) else {}
    yaxis = {"type": "log", "tickformat": "~g", "title": {"text": "threshold"}, **ticks}
    xaxis = {"type": "category", "nticks": 20, "title": {"text": "layer"}}
    return _figure(traces, xaxis=xaxis, yaxis=yaxis)


def _distinct(layers: list[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row.values[key] for row in layers))


def _figure(traces: Sequence[Any], **layout: Any) -> go.Figure:
    return go.Figure(traces, {"template": "none", **layout})


def _scaled(metric: Metric, score: float) -> float:
    """Return a score as the axis has it: a share in percent."""
    return 100 * score if metric.is_share else score


def _score_axis(metric: Metric, scores: Sequence[float] = ()) -> dict[str, Any]:
    """Return the axis; it has all of ``scores`` and room for their labels."""
    title = f"validation {metric.name}" + ("" if metric.higher_is_better else " (lower is better)")
    unit = {"ticksuffix": " %", "tickformat": "~f"} if metric.is_share else {"tickformat": "~g"}
    low, high = (_scaled(metric, end(scores, default=0.0)) for end in (min, max))
    room = 0.14 * (high - low or 0.01 * abs(high) or 1.0)
    frame = [low - room, high + room] if scores else None
    return {"title": {"text": title}, "range": frame, **unit}

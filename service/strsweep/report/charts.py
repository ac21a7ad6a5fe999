"""The charts: what sparsity costs, how training came there, and where it lies in the layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from strsweep.report.contents import SweepContents
from strsweep.report.maps import LEAST, layer_maps, left_of, shown_layers
from strsweep.settings import Metric, Quantity
from strsweep.table import Row

_GREY, _BLUE, _ORANGE = "#8a8f98", "#3b82f6", "#e8710a"
_COLORS = (_BLUE, _ORANGE, "#2aa876", "#c04fd0", "#b58900", "#e5484d", "#17a2b8", "#9a6a4f")
"""They lie between black and white, and read on light and on dark; they repeat after eight."""
_MARKS: dict[str, dict[str, Any]] = {
    "finished": {"name": "finished run", "marker": {"size": 9, "color": _GREY}},
    "stopped": {"name": "stopped run", "marker": {"size": 8, "color": _GREY, "symbol": "x"}},
    "open": {"name": "open run", "marker": {"size": 9, "color": _GREY, "symbol": "circle-open"}},
    "as trained": {
        "name": "delivered as trained",
        "marker": {"size": 13, "color": _BLUE, "symbol": "diamond"},
    },
    "landed": {
        "name": "delivered, landed",
        "marker": {"size": 13, "color": _ORANGE, "symbol": "diamond"},
    },
}
"""State of a run or model -> how the front shows it."""
_POINTS = 30_000
"""What one chart may draw; of longer sweeps only every second epoch is drawn, or every third."""
_ROUND = [d / 10**p for digits in ((10, 5, 2), (7, 3)) for p in range(1, 6) for d in digits]
_MARGIN, APART = 0.08, 0.15
"""Shares of an axis: free at both ends, and between two labels, which else touch on a phone."""
_DOTTED: dict[str, Any] = {"line": {"color": _GREY, "width": 1, "dash": "dot"}, "layer": "below"}


def sweep_charts(sweep: SweepContents) -> dict[str, go.Figure]:
    """Return the charts of a sweep that have something to show, by element id."""
    metric, layers, targets = sweep.metric, shown_layers(sweep), _targets(sweep, "sparsity")
    left = [left_of(epoch["sparsity"]) for epochs in sweep.epochs.values() for epoch in epochs]
    charts = {
        "front-sparsity": front([sweep], "sparsity"),
        "front-macs": front([sweep], "macs"),
        "sparsity-epochs": _over_epochs(
            sweep,
            lambda epoch: left_of(epoch["sparsity"]),
            "%{y:.2%} left",
            share_axis(left, targets, "sparsity in percent", is_pruned_shown=True),
        ),
        "score-epochs": _over_epochs(
            sweep,
            lambda epoch: _scaled(metric, metric.of(epoch)),
            "%{y:.2f} %" if metric.is_share else "%{y:.4g}",
            _score_axis(metric),
        ),
        **layer_maps(layers),
    }
    for target in targets:
        charts["sparsity-epochs"].add_hline(target, **_DOTTED)
    return {name: chart for name, chart in charts.items() if chart.data}


def front(sweeps: Sequence[SweepContents], quantity: Quantity) -> go.Figure:
    """Return the scores over sparsity, or over multiply-adds; empty if nothing was pruned yet.

    Every target is a dotted line, the dense network a dashed one. The scores of the models stand
    along the top, where no mark covers them. Marks differ by state, or by sweep if there are
    several; then a line joins the models of each.
    """
    metric, is_sparsity, is_one = sweeps[0].metric, quantity == "sparsity", len(sweeps) == 1
    targets = list(dict.fromkeys(left for sweep in sweeps for left in _targets(sweep, quantity)))
    rows = [row for sweep in sweeps for row in _on_front(sweep)]
    # A run that has not finished lies outside: it would press the rest together.
    ended = [row for row in rows if row.values["state"] not in {"stopped", "open"}] or rows
    scores = [row.values[metric.name] for row in ended]
    scores += [sweep.dense_score for sweep in sweeps if sweep.dense_score is not None]
    title = ("sparsity" if is_sparsity else "MACs left") + " in percent"
    left = [_left(row, quantity) for row in ended]
    xaxis = share_axis(left, targets, title, is_pruned_shown=is_sparsity)
    traces = _by_state(sweeps[0], quantity) if is_one else _by_sweep(sweeps, quantity)
    chart = _figure(traces, xaxis=xaxis, yaxis=_score_axis(metric, scores))
    if is_one and (models := sweeps[0].delivered):
        found = {_left(row, quantity): _scaled(metric, row.values[metric.name]) for row in models}
        ticks = _apart(found, xaxis["range"])
        texts = [
            f"{found[tick]:.2f}" if metric.is_share else f"{found[tick]:.4g}" for tick in ticks
        ]
        top = {"overlaying": "x", "matches": "x", "side": "top", "title": None, "ticks": ""}
        top |= {"tickvals": ticks, "ticktext": texts, "tickfont": {"color": _ORANGE, "size": 11}}
        chart.update_layout(xaxis2={**xaxis, **top}, legend={"y": 1.1})
    for index, target in enumerate(targets):
        chart.add_vline(target, name="target", showlegend=index == 0, **_DOTTED)
    for index, sweep in enumerate(sweeps):
        if (score := sweep.dense_score) is not None:
            line = {"width": 1.5, "dash": "dash", "color": _GREY if is_one else _shade(index)}
            name = f"{'' if is_one else escape(sweep.title) + ': '}dense {metric.text(score)}"
            place = _scaled(metric, score)
            chart.add_hline(place, line=line, layer="below", name=name, showlegend=True)
    return chart


def share_axis(
    left: Iterable[float], targets: Sequence[float], title: str, *, is_pruned_shown: bool
) -> dict[str, Any]:
    """Return plotly's axis of the shares ``left``: 98 and 99 % sparse differ as 80 and 90 %.

    It labels ``targets`` before round shares; 5 % left reads 95 if what is pruned is shown.
    """
    drawn = [math.log10(max(share, LEAST)) for share in (*left, *targets)] or [0.0, -2.0]
    low, high = min(drawn), max(drawn)
    room = max((high - low) * _MARGIN, (math.log10(2) * (1 + 2 * _MARGIN) - (high - low)) / 2)
    ends = [high + room, low - room]
    ticks = _apart((max(share, LEAST) for share in (*targets, *_ROUND)), ends)
    return {
        "type": "log",
        "range": ends,
        "tickvals": ticks,
        "ticktext": [f"{100 * (1 - tick if is_pruned_shown else tick):.6g}" for tick in ticks],
        "title": {"text": title},
        "showgrid": False,
        "tickangle": 0,
    }


def _apart(shares: Iterable[float], ends: Sequence[float]) -> list[float]:
    """Return those of ``shares`` whose labels have room, the first ones first, in order.

    The ``ends`` of their axis are logarithms, the left one first.
    """
    kept: list[float] = []
    for share in shares:
        place = math.log10(share)
        has_room = all(abs(place - math.log10(k)) >= APART * (ends[0] - ends[1]) for k in kept)
        if ends[1] <= place <= ends[0] and has_room:
            kept.append(share)
    return sorted(kept, reverse=True)


def _by_state(sweep: SweepContents, quantity: Quantity) -> list[go.Scatter]:
    traces: list[go.Scatter] = []
    for state, style in _MARKS.items():
        own = [row for row in _on_front(sweep) if row.values["state"] == state]
        top = {"xaxis": "x2"} if own and own[0] in sweep.delivered else {}
        traces += _marks(sweep, own, quantity, **style, **top)
    return traces


def _by_sweep(sweeps: Sequence[SweepContents], quantity: Quantity) -> list[go.Scatter]:
    traces: list[go.Scatter] = []
    for index, sweep in enumerate(sweeps):
        name, shade, models = escape(sweep.title), _shade(index), sweep.delivered
        runs = [row for row in _on_front(sweep) if row.values["state"] == "finished"]
        small = {"size": 6, "color": shade, "opacity": 0.45}
        large = {"size": 11, "color": shade, "symbol": "diamond"}
        line: dict[str, Any] = {"mode": "lines+markers", "line": {"width": 1.5, "color": shade}}
        is_named = not models
        traces += _marks(
            sweep, runs, quantity, name=f"{name}: runs", marker=small, showlegend=is_named
        )
        traces += _marks(sweep, models, quantity, name=name, marker=large, **line)
    return traces


def _on_front(sweep: SweepContents) -> list[Row]:
    """Return the pruned runs and the models that have a place there."""
    runs = [run for run in sweep.runs if not run.values["role"] and run.values["state"] != "failed"]
    return [row for row in [*runs, *sweep.delivered] if row.values[sweep.metric.name] is not None]


def _left(row: Row, quantity: Quantity) -> float:
    is_sparsity = quantity == "sparsity"
    return left_of(row.values["sparsity"] if is_sparsity else 1 - row.values["macs_share"])


def _marks(
    sweep: SweepContents, rows: list[Row], quantity: Quantity, **style: Any
) -> list[go.Scatter]:
    """Return a trace with a mark per row, from dense to sparse; nothing without rows."""
    rows = sorted(rows, key=lambda row: -_left(row, quantity))
    trace = go.Scatter(
        x=[_left(row, quantity) for row in rows],
        y=[_scaled(sweep.metric, row.values[sweep.metric.name]) for row in rows],
        hovertext=[row.hover for row in rows],
        hoverinfo="text",
        customdata=[row.link for row in rows],
        **{"mode": "markers", **style},
    )
    return [trace] if rows else []


def _targets(sweep: SweepContents, quantity: Quantity) -> list[float]:
    targets = [t for t in sweep.experiment.search.targets if t.quantity == quantity]
    return [left_of(sweep.problem.pruned(target)) for target in targets]


def _over_epochs(
    sweep: SweepContents, value: Callable[[dict[str, float]], float], shown: str, yaxis: Any
) -> go.Figure:
    """Return a line per run, coloured by what it is for; of an unfinished one it is dotted."""
    step = -(-sum(map(len, sweep.epochs.values())) // _POINTS)
    targets = [str(target) for target in sweep.experiment.search.targets]
    traces: dict[str, list[go.Scatter]] = {}
    runs = [run for run in sweep.runs if sweep.epochs[run.values["run_id"]]]
    for run in sorted(runs, key=lambda run: run.values["state"] != "finished"):
        epochs, purpose = sweep.epochs[run.values["run_id"]], run.values["purpose"]
        drawn = [*epochs[:-1:step], epochs[-1]]
        color = _shade(targets.index(purpose)) if purpose in targets else _GREY
        dash = "solid" if run.values["state"] == "finished" else "dot"
        line = go.Scatter(
            mode="lines",
            name=escape(purpose) or "without a target",
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


def _figure(traces: Sequence[Any], **layout: Any) -> go.Figure:
    return go.Figure(traces, {"template": "none", **layout})


def _shade(index: int) -> str:
    return _COLORS[index % len(_COLORS)]


def _scaled(metric: Metric, score: float) -> float:
    """Return a score as the axis has it: a share in percent."""
    return 100 * score if metric.is_share else score


def _score_axis(metric: Metric, scores: Sequence[float] = ()) -> dict[str, Any]:
    """Return the axis; it has all of ``scores``, and room around them."""
    title = f"validation {metric.name}" + ("" if metric.higher_is_better else " (lower is better)")
    title += "" if metric.few_samples is None else f" of {metric.few_samples} samples"
    unit = {"ticksuffix": " %", "tickformat": "~f"} if metric.is_share else {"tickformat": "~g"}
    low, high = (_scaled(metric, end(scores, default=0.0)) for end in (min, max))
    room = 0.08 * (high - low or 0.01 * abs(high) or 1.0)
    frame = [low - room, high + room] if scores else None
    return {"title": {"text": title}, "range": frame, **unit}

"""The charts: what sparsity costs, how training came there, and where it lies in the layers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from html import escape
from typing import Any

import plotly.graph_objects as go

from strsweep.report.contents import SweepContents
from strsweep.settings import Metric, Quantity, percent
from strsweep.table import Row, whole

_GREY, _BLUE, _ORANGE = "#8a8f98", "#3b82f6", "#e8710a"
_COLORS = (_BLUE, _ORANGE, "#2aa876", "#c04fd0", "#b58900", "#e5484d", "#17a2b8", "#9a6a4f")
"""They lie between black and white, and read on light and on dark; they repeat after eight."""
_MARKS = {
    "finished": ("finished run", 9, _GREY, "circle"),
    "stopped": ("stopped run", 8, _GREY, "x"),
    "open": ("open run", 9, _GREY, "circle-open"),
    "as trained": ("delivered as trained", 13, _BLUE, "diamond"),
    "landed": ("delivered, landed", 13, _ORANGE, "diamond"),
}
"""State of a run or model -> name, size, colour and symbol of its mark in the front."""
_POINTS = 30_000
"""What one chart may draw; of longer sweeps only every second epoch is drawn, or every third."""
_ROUND = [d / 10**p for digits in ((10, 5, 2), (7, 3)) for p in range(1, 6) for d in digits]
_MARGIN, APART = 0.08, 0.15
"""Shares of an axis: free at both ends, and between two labels, which else touch on a phone."""
_DOTTED: dict[str, Any] = {"line": {"color": _GREY, "width": 1, "dash": "dot"}, "layer": "below"}
LEAST = 1e-4
"""Shares below are drawn here: a logarithm knows no zero."""
_CELLS, _COLUMNS = 240, 16
"""More cells of a map hold no number that can be read, more models have no room."""


def sweep_charts(sweep: SweepContents) -> dict[str, go.Figure]:
    """Return the charts of a sweep by element id; those without anything to show are empty."""
    metric, targets = sweep.metric, _targets(sweep, "sparsity")
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
        **_layer_maps(shown_layers(sweep)),
    }
    for target in targets:
        charts["sparsity-epochs"].add_hline(target, **_DOTTED)
    return charts


def front(sweeps: Sequence[SweepContents], quantity: Quantity) -> go.Figure:
    """Return the scores over sparsity, or over multiply-adds; empty if nothing was pruned yet.

    Every target is a dotted line, the dense network a dashed one. The scores of the models stand
    along the top, where no mark covers them. Marks differ by state, or by sweep if there are
    several; then a line joins the models of each.
    """
    metric, is_one = sweeps[0].metric, len(sweeps) == 1
    targets = list(dict.fromkeys(left for sweep in sweeps for left in _targets(sweep, quantity)))
    rows = [row for sweep in sweeps for row in _on_front(sweep)]
    # A run that has not finished lies outside: it would press the rest together.
    ended = [row for row in rows if row.values["state"] not in {"stopped", "open"}] or rows
    scores = [row.values[metric.name] for row in ended]
    scores += [sweep.dense_score for sweep in sweeps if sweep.dense_score is not None]
    title = ("sparsity" if quantity == "sparsity" else "MACs left") + " in percent"
    left = [_left(row, quantity) for row in ended]
    xaxis = share_axis(left, targets, title, is_pruned_shown=quantity == "sparsity")
    traces = [_trace(rows, metric, quantity, style) for rows, style in _groups(sweeps) if rows]
    chart = go.Figure(traces, {"xaxis": xaxis, "yaxis": _score_axis(metric, scores)})
    if is_one:
        _write_scores(chart, sweeps[0], quantity, xaxis["range"])
    for index, target in enumerate(targets):
        chart.add_vline(target, name="target", showlegend=index == 0, **_DOTTED)
    for index, sweep in enumerate(sweeps):
        if (score := sweep.dense_score) is not None:
            line = {"width": 1.5, "dash": "dash", "color": _GREY if is_one else _shade(index)}
            name = f"{'' if is_one else escape(sweep.title) + ': '}dense {metric.text(score)}"
            place = _scaled(metric, score)
            chart.add_hline(place, line=line, layer="below", name=name, showlegend=True)
    return chart


def _write_scores(
    chart: go.Figure, sweep: SweepContents, quantity: Quantity, ends: Sequence[float]
) -> None:
    metric, form = sweep.metric, ".2f" if sweep.metric.is_share else ".4g"
    scores = {_left(row, quantity): row.values[metric.name] for row in sweep.delivered}
    for left in _apart(scores, ends):
        chart.add_annotation(
            text=f"{_scaled(metric, scores[left]):{form}}",
            x=math.log10(left),
            y=1,
            yref="y domain",
            yanchor="bottom",
            showarrow=False,
            font={"color": _ORANGE, "size": 11},
        )
    chart.update_layout(legend={"y": 1.1 if scores else 1.02})


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


def _groups(sweeps: Sequence[SweepContents]) -> Iterator[tuple[list[Row], dict[str, Any]]]:
    """Yield rows that are drawn alike, and how: by state, or by sweep if there are several."""
    if len(sweeps) == 1:
        for state, (name, size, color, symbol) in _MARKS.items():
            rows = [row for row in _on_front(sweeps[0]) if row.values["state"] == state]
            yield rows, {"name": name, "marker": {"size": size, "color": color, "symbol": symbol}}
        return
    for index, sweep in enumerate(sweeps):
        name, shade, models = escape(sweep.title), _shade(index), sweep.delivered
        runs = [row for row in _on_front(sweep) if row.values["state"] == "finished"]
        small = {"size": 6, "color": shade, "opacity": 0.45}
        yield runs, {"name": f"{name}: runs", "marker": small, "showlegend": not models}
        large = {"size": 11, "color": shade, "symbol": "diamond"}
        line = {"width": 1.5, "color": shade}
        yield models, {"name": name, "marker": large, "mode": "lines+markers", "line": line}


def _trace(
    rows: list[Row], metric: Metric, quantity: Quantity, style: dict[str, Any]
) -> go.Scatter:
    """Return a mark per row, from dense to sparse."""
    rows = sorted(rows, key=lambda row: -_left(row, quantity))
    return go.Scatter(
        x=[_left(row, quantity) for row in rows],
        y=[_scaled(metric, row.values[metric.name]) for row in rows],
        hovertext=[row.hover for row in rows],
        hoverinfo="text",
        customdata=[row.link for row in rows],
        **{"mode": "markers", **style},
    )


def _on_front(sweep: SweepContents) -> list[Row]:
    """Return the pruned runs and the models that have a place there."""
    runs = [run for run in sweep.runs if not run.values["role"] and run.values["state"] != "failed"]
    return [row for row in [*runs, *sweep.delivered] if row.values[sweep.metric.name] is not None]


def _left(row: Row, quantity: Quantity) -> float:
    values = row.values
    return left_of(values["sparsity"] if quantity == "sparsity" else 1 - values["macs_share"])


def left_of(pruned: float) -> float:
    """Return what is left where ``pruned`` is gone, as it is drawn."""
    return max(1 - pruned, LEAST)


def _targets(sweep: SweepContents, quantity: Quantity) -> list[float]:
    targets = [t for t in sweep.experiment.search.targets if t.quantity == quantity]
    return [left_of(sweep.problem.pruned(target)) for target in targets]


def _over_epochs(
    sweep: SweepContents, value: Callable[[dict[str, float]], float], shown: str, yaxis: Any
) -> go.Figure:
    """Return a line per run, coloured by what it is for; of an unfinished one it is dotted."""
    step = -(-sum(map(len, sweep.epochs.values())) // _POINTS)
    targets = [str(target) for target in sweep.experiment.search.targets]
    chart, named = go.Figure(), set[str]()
    runs = [run for run in sweep.runs if sweep.epochs[run.values["run_id"]]]
    for run in sorted(runs, key=lambda run: run.values["state"] != "finished"):
        epochs, purpose = sweep.epochs[run.values["run_id"]], run.values["purpose"]
        drawn = [*epochs[:-1:step], epochs[-1]]
        color = _shade(targets.index(purpose)) if purpose in targets else _GREY
        dash = "solid" if run.values["state"] == "finished" else "dot"
        chart.add_scatter(
            mode="lines",
            name=escape(purpose) or "without a target",
            legendgroup=purpose,
            showlegend=purpose not in named,
            x=[epoch["epoch"] for epoch in drawn],
            y=[float(f"{value(epoch):.6g}") for epoch in drawn],
            hovertemplate=f"{run.hover}<br>epoch %{{x}}: {shown}<extra></extra>",
            meta=run.link,
            line={"color": color, "width": 1.5, "dash": dash},
        )
        named.add(purpose)
    return chart.update_layout(xaxis={"title": "epoch", "rangemode": "tozero"}, yaxis=yaxis)


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


def shown_layers(sweep: SweepContents) -> list[Row]:
    """Return the layers of the newest models, as many as a chart has room for."""
    newest = list(dict.fromkeys(row.values["model"] for row in sweep.layers))[-_COLUMNS:]
    return [row for row in sweep.layers if row.values["model"] in newest]


def _layer_maps(layers: list[Row]) -> dict[str, go.Figure]:
    """Return maps of the layers, by element id: colours are of logarithms, or of shares."""
    levels = {-math.log10(1 - level): percent(level) for level in (0, 0.5, 0.9, 0.99, 0.999)}
    bar = {"tickvals": [*levels], "ticktext": [*levels.values()]}
    unit, bare = {"ticksuffix": " %"}, partial(percent, digits=1)
    pruned = [row for row in layers if (row.values["threshold"] or 0) > 0]
    ranked = [row for row in layers if row.values["rank"] is not None]
    full = [100 * row.values["rank"] / row.values["full_rank"] for row in ranked]
    depths = [-math.log10(left_of(row.values["sparsity"])) for row in layers]
    shares = [100 * row.values["macs_share"] for row in layers]
    thresholds = [math.log10(row.values["threshold"]) for row in pruned]
    return {
        "layer-sparsity": _map(layers, "sparsity", bare, depths, zmin=0, colorbar=bar),
        "layer-macs": _map(layers, "macs_share", bare, shares, zmin=0, colorbar=unit),
        "thresholds": _map(pruned, "threshold", "{:.2g}".format, thresholds),
        "ranks": _map(ranked, "rank", whole, full, zmin=0, colorbar=unit),
    }


def _map(
    layers: list[Row], key: str, shown: Callable[[Any], str], values: list[float], **style: Any
) -> go.Figure:
    """Return a cell per layer of every model; white numbers read on all of its colours."""
    has_room = len(layers) <= _CELLS
    names = [escape(row.values["name"]) for row in layers]
    trace = go.Heatmap(
        x=[escape(row.values["model"]) for row in layers],
        y=names,
        z=values,
        text=[shown(row.values[key]).removesuffix(" %") for row in layers],
        texttemplate="%{text}" if has_room else "",
        showscale=not has_room,
        hovertext=[row.hover for row in layers],
        hoverinfo="text",
        **style,
    )
    layout = {"height": 88 + 20 * len({*names}), "margin": {"b": 8}}
    chart = go.Figure([trace] if layers else [], layout)
    chart.update_xaxes(type="category", showgrid=False, side="top")
    return chart.update_yaxes(type="category", showgrid=False, autorange="reversed", dtick=1)

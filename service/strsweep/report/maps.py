"""Maps of the layers: where sparsity, multiply-adds, thresholds and ranks lie in each model."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import plotly.graph_objects as go

from strsweep.report.contents import SweepContents
from strsweep.settings import percent
from strsweep.table import Row, whole

_CELLS, _COLUMNS = 240, 16
"""More cells of a map hold no number that can be read, more models have no room."""
LEAST = 1e-4
"""Shares below are drawn here: a logarithm knows no zero."""


def left_of(pruned: float) -> float:
    """Return what is left where ``pruned`` is gone, as it is drawn."""
    return max(1 - pruned, LEAST)


def shown_layers(sweep: SweepContents) -> list[Row]:
    """Return the layers of the newest models, as many as a chart has room for."""
    newest = set(_distinct(sweep.layers, "model")[-_COLUMNS:])
    return [row for row in sweep.layers if row.values["model"] in newest]


def layer_maps(layers: list[Row]) -> dict[str, go.Figure]:
    """Return maps of the layers, by element id: colours are of logarithms, or of shares."""
    levels = {-math.log10(1 - level): percent(level) for level in (0, 0.5, 0.9, 0.99, 0.999)}
    steps = [row for row in layers if (row.values["threshold"] or 0) > 0]
    ranks = [row for row in layers if row.values["rank"] is not None]
    depths = [-math.log10(left_of(row.values["sparsity"])) for row in layers]
    shares = [100 * row.values["macs_share"] for row in layers]
    logarithms = [math.log10(row.values["threshold"]) for row in steps]
    full = [100 * row.values["rank"] / row.values["full_rank"] for row in ranks]
    bar = {"tickvals": [*levels], "ticktext": [*levels.values()]}
    unit, bare = {"ticksuffix": " %"}, partial(percent, digits=1)
    return {
        "layer-sparsity": _map(layers, "sparsity", bare, depths, zmin=0, colorbar=bar),
        "layer-macs": _map(layers, "macs_share", bare, shares, zmin=0, colorbar=unit),
        "thresholds": _map(steps, "threshold", "{:.2g}".format, logarithms),
        "ranks": _map(ranks, "rank", whole, full, zmin=0, colorbar=unit),
    }


def _map(
    layers: list[Row], key: str, shown: Callable[[Any], str], values: list[float], **style: Any
) -> go.Figure:
    """Return a cell per layer of every model; white numbers read on all of its colours."""
    has_room = len(layers) <= _CELLS
    trace = go.Heatmap(
        x=[escape(row.values["model"]) for row in layers],
        y=[escape(row.values["name"]) for row in layers],
        z=values,
        text=[shown(row.values[key]).removesuffix(" %") for row in layers],
        texttemplate="%{text}" if has_room else "",
        showscale=not has_room,
        hovertext=[row.hover for row in layers],
        hoverinfo="text",
        **style,
    )
    axis = {"type": "category", "showgrid": False}
    return go.Figure(
        [trace] if layers else [],
        {
            "template": "none",
            "height": 88 + 20 * len(_distinct(layers, "name")),
            "margin": {"b": 8},
            "xaxis": {**axis, "side": "top"},
            "yaxis": {**axis, "autorange": "reversed", "dtick": 1},
        },
    )


def _distinct(layers: list[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row.values[key] for row in layers))

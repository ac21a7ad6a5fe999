"""Layers beside models: how sparse each is, what is left to compute, where its threshold is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from strsweep.registry.report.layers import ModelLayer
from strsweep.registry.report.share_axis import LEAST
from strsweep.registry.report.style import chart_layout, color, log_axis
from strsweep.settings import percent

_AROUND = 110
"""Pixels of axis and margins."""
_FEW = 20
"""Layers that get high rows and a label each."""
_LABELLED = 240
"""More cells than this hold no number that can be read."""
_MODELS = 16
"""A chart can hold no more of them."""
_LEVELS = (0, 0.5, 0.9, 0.99, 0.999)
_COLORS = [[0, "#2b3a55"], [0.4, "#3565b3"], [0.75, "#7a4fc0"], [1, "#c2418f"]]
"""From few to many; white numbers read on all of them."""


def shown_layers(layers: Sequence[ModelLayer]) -> list[ModelLayer]:
    """Return the layers of the models that a chart can hold: the newest ones."""
    models = set(_models(layers)[-_MODELS:])
    return [layer for layer in layers if layer.model in models]


def sparsity_map(layers: Sequence[ModelLayer]) -> dict[str, Any]:
    """Return the sparsity of every layer of every model, in a logarithm of what is left."""
    scale = {
        "zmin": 0,
        "zmax": max(1.0, *(_level(layer.sparsity) for layer in layers)),
        "colorbar": {
            "tickvals": [_level(level) for level in _LEVELS],
            "ticktext": [f"{level * 100:g} %" for level in _LEVELS],
        },
    }
    return _map(
        layers,
        [_level(layer.sparsity) for layer in layers],
        [f"{layer.sparsity * 100:.1f}" for layer in layers],
        scale,
    )


def macs_map(layers: Sequence[ModelLayer]) -> dict[str, Any]:
    """Return each layer's share of the multiply-adds that its model has left."""
    scale = {
        "zmin": 0,
        "zmax": max(layer.macs_share for layer in layers) * 100,
        "colorbar": {"ticksuffix": " %"},
    }
    return _map(
        layers,
        [layer.macs_share * 100 for layer in layers],
        [f"{layer.macs_share * 100:.1f}" for layer in layers],
        scale,
    )


def threshold_chart(layers: Sequence[ModelLayer]) -> dict[str, Any] | None:
    """Return the final threshold of every layer, a line per model; None if there are none."""
    found = [layer for layer in layers if layer.threshold is not None and layer.threshold > 0]
    if not found:
        return None
    traces = [_thresholds(model, index, found) for index, model in enumerate(_models(layers))]
    return {
        "data": [trace for trace in traces if trace["x"]],
        "layout": chart_layout(
            xaxis={
                "title": {"text": "layer"},
                "type": "category",
                "nticks": _FEW,
            },
            yaxis=log_axis("threshold", [layer.threshold or 1.0 for layer in found]),
        ),
    }


def _thresholds(model: str, index: int, layers: Sequence[ModelLayer]) -> dict[str, Any]:
    own = [layer for layer in layers if layer.model == model]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": escape(model),
        "x": [escape(layer.name) for layer in own],
        "y": [layer.threshold for layer in own],
        "hovertext": [f"<b>{escape(model)}</b><br>{_hover(layer)}" for layer in own],
        "hoverinfo": "text",
        "line": {"color": color(index), "width": 1.5},
        "marker": {"size": 7},
    }


def _map(
    layers: Sequence[ModelLayer],
    values: Sequence[float],
    texts: Sequence[str],
    scale: dict[str, Any],
) -> dict[str, Any]:
    models, names = _models(layers), _names(layers)
    cells = {(layer.name, layer.model): index for index, layer in enumerate(layers)}
    rows = [[cells.get((name, model)) for model in models] for name in names]

    def filled(of: Sequence[Any]) -> list[list[Any]]:
        return [[None if index is None else of[index] for index in row] for row in rows]

    hovers = [f"<b>{escape(layer.model)}</b><br>{_hover(layer)}" for layer in layers]
    trace = {
        "type": "heatmap",
        "x": [escape(model) for model in models],
        "y": [escape(name) for name in names],
        "z": filled(values),
        "hovertext": filled(hovers),
        "hoverinfo": "text",
        "colorscale": _COLORS,
        "xgap": 2,
        "ygap": 1,
        **scale,
    }
    if len(layers) <= _LABELLED:
        trace |= {
            "text": filled(texts),
            "texttemplate": "%{text}",
            "textfont": {"color": "#ffffff"},
        }
    return {"data": [trace], "layout": _map_layout(names)}


def _map_layout(names: Sequence[str]) -> dict[str, Any]:
    are_few = len(names) <= _FEW
    return chart_layout(
        height=max(220, _AROUND + (22 if are_few else 15) * len(names)),
        xaxis={"type": "category", "side": "top", "showgrid": False},
        yaxis={
            "type": "category",
            "autorange": "reversed",
            "dtick": 1,
            "tickfont": {"size": 12 if are_few else 10},
            "showgrid": False,
        },
    )


def _hover(layer: ModelLayer) -> str:
    lines = [
        escape(layer.name),
        f"sparsity {percent(layer.sparsity, 2)}, {layer.weights - layer.zeros:,} of "
        f"{layer.weights:,} weights left",
        f"{layer.macs:,} MACs, {percent(layer.macs_share, 2)} of the model's",
    ]
    if layer.threshold is not None:
        lines.append(f"threshold {layer.threshold:.3g}")
    return "<br>".join(lines)


def _level(sparsity: float) -> float:
    return -math.log10(max(1 - sparsity, LEAST))


def _models(layers: Sequence[ModelLayer]) -> list[str]:
    return list(dict.fromkeys(layer.model for layer in layers))


def _names(layers: Sequence[ModelLayer]) -> list[str]:
    return list(dict.fromkeys(layer.name for layer in layers))

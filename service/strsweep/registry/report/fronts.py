"""What sparsity costs in accuracy: targets, runs and delivered models of one or more sweeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from strsweep.registry.report.contents import AskedFor, SweepContents
from strsweep.registry.report.models import ModelRow
from strsweep.registry.report.runs import RunRow
from strsweep.registry.report.share_axis import ShareAxis, left_of, share_axis
from strsweep.registry.report.style import (
    BLUE,
    GREY,
    ORANGE,
    accuracy_axis,
    chart_layout,
    color,
    markers,
    run_hover,
)
from strsweep.settings import Quantity, percent

_Place = Callable[[RunRow | ModelRow], float | None]
_TITLES: dict[Quantity, str] = {
    "sparsity": "sparsity",
    "macs": "multiply-adds left of the dense network's",
}
_STOPPED, _UNDER_WAY = "stopped run", "under way"
_LABEL_WIDTH = 0.13
"""Of an accuracy beside its mark, as a share of the axis."""


def front(contents: SweepContents, quantity: Quantity) -> dict[str, Any] | None:
    """Return accuracy over sparsity, or over multiply-adds, as a plotly figure.

    The dense network is a line across. None if nothing was pruned yet.
    """
    place = _places(quantity)
    runs = [run for run in contents.runs if place(run) is not None]
    traces = [
        _run_trace("finished run", runs, "finished", place, symbol="circle", size=9, color=GREY),
        _run_trace(_STOPPED, runs, "stopped", place, symbol="x", size=8, color=GREY),
        _run_trace(_UNDER_WAY, runs, "under way", place, symbol="circle-open", size=9, color=GREY),
        _model_trace("delivered as trained", contents.models, "as trained", place, BLUE),
        _model_trace("delivered, landed", contents.models, "landed", place, ORANGE),
    ]
    dense = [] if contents.dense_score is None else [(contents.dense_score, GREY)]
    return _figure(contents.targets, quantity, traces, dense)


def fronts_overlaid(sweeps: Sequence[SweepContents], quantity: Quantity) -> dict[str, Any] | None:
    """Return the fronts of several sweeps in one figure: a line through each one's models."""
    place = _places(quantity)
    traces: list[dict[str, Any]] = []
    for index, sweep in enumerate(sweeps):
        shade = color(index)
        runs = [run for run in sweep.runs if place(run) is not None]
        finished = _run_trace(
            f"{sweep.title}: runs", runs, "finished", place, symbol="circle", size=6, color=shade
        )
        models = sorted(
            (model for model in sweep.models if place(model) is not None),
            key=lambda model: -(place(model) or 0.0),
        )
        traces.append(finished | {"opacity": 0.45, "showlegend": not models})
        line = markers(
            sweep.title,
            [
                (place(model) or 0.0, _percent(model), _model_hover(model), model.link)
                for model in models
            ],
            symbol="diamond",
            size=11,
            color=shade,
        )
        traces.append(line | {"mode": "lines+markers", "line": {"width": 1.5, "color": shade}})
    targets = {target.name: target for sweep in sweeps for target in sweep.targets}
    dense = [
        (sweep.dense_score, color(index))
        for index, sweep in enumerate(sweeps)
        if sweep.dense_score is not None
    ]
    return _figure(list(targets.values()), quantity, traces, dense)


def _places(quantity: Quantity) -> _Place:
    def place(row: RunRow | ModelRow) -> float | None:
        if row.score is None or row.sparsity is None or row.macs_share is None:
            return None
        if isinstance(row, RunRow) and row.role:
            return None
        return left_of(row.sparsity if quantity == "sparsity" else 1 - row.macs_share)

    return place


def _percent(row: RunRow | ModelRow) -> float:
    assert row.score is not None
    return row.score * 100


def _run_trace(
    name: str, runs: Sequence[RunRow], state: str, place: _Place, **marker: Any
) -> dict[str, Any]:
    points = [
        (place(run) or 0.0, _percent(run), run_hover(run), run.link)
        for run in runs
        if run.state == state
    ]
    return markers(name, points, **marker)


def _model_trace(
    name: str, models: Sequence[ModelRow], state: str, place: _Place, shade: str
) -> dict[str, Any]:
    chosen = [model for model in models if model.state == state]
    points = [
        (place(model) or 0.0, _percent(model), _model_hover(model), model.link) for model in chosen
    ]
    return markers(name, points, symbol="diamond", size=13, color=shade) | {
        "textposition": "bottom center",
        "textfont": {"color": shade},
        "cliponaxis": False,
    }


def _model_hover(model: ModelRow) -> str:
    assert model.score is not None
    assert model.sparsity is not None
    assert model.macs_share is not None
    lines = [f"<b>{escape(model.asked) or 'single run'}</b> · {model.state}"]
    lines.append(f"sparsity {percent(model.sparsity, 3)} · accuracy {percent(model.score, 2)}")
    lines.append(f"{model.macs:,} MACs, {percent(model.macs_share, 2)} of dense")
    if model.state == "landed" and model.trained_at is not None:
        lines.append(
            f"trained at {percent(model.trained_at, 2)}, "
            f"accuracy {percent(model.score_before or 0.0, 2)} before landing"
        )
    lines.append(f"{escape(model.run_id)}, weights {model.weights_sha256[:12]}")
    if model.link:
        lines.append("<i>click for its run in MLflow</i>")
    return "<br>".join(lines)


def _figure(
    targets: Sequence[AskedFor],
    quantity: Quantity,
    traces: list[dict[str, Any]],
    dense: Sequence[tuple[float, str]],
) -> dict[str, Any] | None:
    lines = [left_of(target.pruned) for target in targets if target.quantity == quantity]
    traces = [trace for trace in traces if trace["x"]]
    if not traces:
        return None
    axis = share_axis([share for trace in traces for share in trace["x"]], lines)
    title = _TITLES[quantity] + (" (dotted: targets)" if lines else "")
    for trace in traces:
        if "textposition" in trace:
            trace |= {"mode": "markers+text", "text": _labels(trace, axis)}
    return {
        "data": traces,
        "layout": chart_layout(
            xaxis=axis.layout(title, is_pruned_shown=quantity == "sparsity"),
            yaxis=accuracy_axis() | _frame(traces, [accuracy for accuracy, _ in dense]),
            shapes=[
                *(target_line("x", line) for line in lines),
                *(_dense_line(accuracy, shade) for accuracy, shade in dense),
            ],
        ),
    }


def _labels(trace: dict[str, Any], axis: ShareAxis) -> list[str]:
    """Return the accuracy of every mark that has room for it, else nothing."""
    width = math.log(axis.most / axis.least) * _LABEL_WIDTH
    kept: list[float] = []
    texts: list[str] = []
    for share, accuracy in zip(trace["x"], trace["y"], strict=True):
        has_room = all(abs(math.log(share / other)) >= width for other in kept)
        kept += [share] if has_room else []
        texts.append(f"{accuracy:.2f} %" if has_room else "")
    return texts


def _frame(traces: Sequence[dict[str, Any]], dense: Sequence[float]) -> dict[str, Any]:
    """Return the accuracies that are shown: dense ones and of finished runs and models, or all.

    A run that was stopped early would press the rest together.
    """
    ended = [trace for trace in traces if trace["name"] not in {_STOPPED, _UNDER_WAY}]
    shown = [accuracy for trace in ended or traces for accuracy in trace["y"]]
    shown += [accuracy * 100 for accuracy in dense]
    height = max(max(shown) - min(shown), 0.2)
    return {"range": [min(shown) - 0.14 * height, max(shown) + 0.08 * height]}


def _dense_line(accuracy: float, shade: str) -> dict[str, Any]:
    """Return a dashed line at the accuracy of the dense network."""
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": accuracy * 100,
        "y1": accuracy * 100,
        "line": {"color": shade, "width": 1.5, "dash": "dash"},
        "label": {
            "text": f"dense {percent(accuracy, 2)}",
            "textposition": "end",
            "yanchor": "bottom",
            "font": {"color": shade, "size": 11},
        },
        "layer": "below",
    }


def target_line(across: str, at: float) -> dict[str, Any]:
    """Return a dotted line at a target; ``across`` names the axis that it crosses."""
    other = "y" if across == "x" else "x"
    ends = {f"{across}0": at, f"{across}1": at, f"{other}0": 0, f"{other}1": 1}
    return {
        "type": "line",
        **ends,
        f"{other}ref": "paper",
        f"{across}ref": across,
        "line": {"color": GREY, "width": 1, "dash": "dot"},
        "layer": "below",
    }

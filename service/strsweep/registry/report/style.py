"""What all charts share. Colours lie between black and white: they read on light and on dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from strsweep.registry.report.runs import RunRow
from strsweep.settings import percent

GREY, BLUE, ORANGE = "#8a8f98", "#3b82f6", "#e8710a"
COLORS = (BLUE, ORANGE, "#2aa876", "#c04fd0", "#b58900", "#e5484d", "#17a2b8", "#9a6a4f")
STATE_SYMBOLS = {
    "finished": "circle",
    "stopped": "x",
    "failed": "cross",
    "under way": "circle-open",
}


def color(index: int) -> str:
    """Return the colour of the ``index``-th of several series; they repeat after eight."""
    return COLORS[index % len(COLORS)]


def chart_layout(**parts: Any) -> dict[str, Any]:
    """Return a layout with the margins, legend and hover of all charts."""
    return {
        "margin": {"l": 56, "r": 20, "t": 48, "b": 48},
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        "showlegend": True,
        "hovermode": "closest",
        "height": 400,
        **parts,
    }


def accuracy_axis() -> dict[str, Any]:
    """Return the axis of validation accuracy, in percent."""
    return {"title": {"text": "validation accuracy"}, "ticksuffix": " %", "tickformat": "~f"}


def log_axis(title: str, values: Sequence[float]) -> dict[str, Any]:
    """Return a logarithmic axis with plain numbers at its ticks."""
    axis = {"title": {"text": title}, "type": "log", "tickformat": "~g"}
    # Over less than a decade plotly's own ticks are better.
    return axis | ({"dtick": "D2"} if max(values) >= 8 * min(values) else {})


def markers(
    name: str,
    points: Sequence[tuple[float, float, str, str]],
    **marker: Any,
) -> dict[str, Any]:
    """Return a scatter trace.

    Args:
        name: In the legend, as plain text.
        points: Abscissa, ordinate, hover text in plotly's markup, and a link or nothing.
        marker: Symbol, size and colour.
    """
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escape(name),
        "x": [point[0] for point in points],
        "y": [point[1] for point in points],
        "hovertext": [point[2] for point in points],
        "hoverinfo": "text",
        "customdata": [point[3] for point in points],
        "marker": marker,
    }


def run_hover(run: RunRow) -> str:
    """Return what a run's point tells when it is hovered over."""
    lines = [" · ".join(filter(None, (f"<b>{escape(run.run_id)}</b>", run.role, run.state)))]
    if run.sparsity is not None and run.score is not None:
        lines.append(f"sparsity {percent(run.sparsity, 2)} · accuracy {percent(run.score, 2)}")
    if run.macs is not None and run.macs_share is not None:
        lines.append(f"{run.macs:,} MACs, {percent(run.macs_share, 2)} of dense")
    lines.append(_settings_text(run))
    if run.aim:
        lines.append(f"aimed at {escape(run.aim)}")
    lines.append(f"{run.epochs_paid:,} epochs paid, {duration(run.hours_paid)}")
    if run.ended:
        lines.append(_clipped(run.ended))
    if run.link:
        lines.append("<i>click for its page in MLflow</i>")
    return "<br>".join(lines)


def _settings_text(run: RunRow) -> str:
    """Return the settings of a run."""
    has_init = run.threshold_init is not None and not run.role
    init = f", threshold init {run.threshold_init:.4g}" if has_init else ""
    own = "" if run.threshold_decay is None else f", threshold decay {run.threshold_decay:.3g}"
    return f"weight decay {run.weight_decay:.3g}{own}{init}"


def _clipped(text: str, length: int = 90) -> str:
    """Return one short line of ``text``, safe in plotly's markup."""
    line = " ".join(text.split())
    return escape(line if len(line) <= length else line[: length - 1] + "…")


def duration(hours: float) -> str:
    """Return hours as a person reads them; number and unit stay on one line."""
    if hours >= 100:
        return f"{hours:,.0f}\u00a0h"
    if hours >= 1:
        return f"{hours:.1f}\u00a0h"
    return f"{hours * 60:.0f}\u00a0min" if hours * 60 >= 2 else f"{hours * 3600:.0f}\u00a0s"

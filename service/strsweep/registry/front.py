"""The picture of a sweep: score over sparsity, with the targets and the models chosen."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from strsweep.registry.receipt import Receipt
from strsweep.registry.report.share_axis import LEAST, share_axis
from strsweep.search.runs import Run
from strsweep.settings import Metric, Target

_GREY, _BLUE, _ORANGE = "#8a8f98", "#1f6feb", "#d9730d"


def front_png(
    finished: Sequence[Run],
    delivered: Sequence[Receipt],
    targets: Sequence[Target],
    metric: Metric,
    dense_score: float | None = None,
) -> bytes:
    """Return a PNG: every finished run, a line per target, the delivered models with scores.

    The sparsity axis is logarithmic in the density, as 98 and 99 % differ as much as 80 and 90 %.
    A target in multiply-adds has no line: it has no place on this axis. The dense network is a
    dashed line across.
    """
    # Not pyplot: it keeps a global state and looks for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    sparsities = [target.sparsity for target in targets if target.sparsity is not None]
    for sparsity in sparsities:
        axes.axvline(1 - sparsity, color=_GREY, linewidth=0.8, linestyle=":")
    if dense_score is not None:
        axes.axhline(dense_score, color=_GREY, linewidth=1, linestyle="--", label="dense")
    as_trained = [receipt for receipt in delivered if receipt.landed is None]
    landed = [receipt for receipt in delivered if receipt.landed is not None]
    known = {receipt.run_id for receipt in as_trained}
    others = [run for run in finished if run.run_id not in known]
    _scatter(axes, others, color=_GREY, label="run", size=30)
    _scatter(axes, as_trained, color=_BLUE, label="delivered", size=70)
    _scatter(axes, landed, color=_ORANGE, label="delivered, landed", size=70)
    for receipt in delivered:
        _annotate(axes, receipt)
    _label(axes, [*others, *delivered], sparsities, metric)
    content = io.BytesIO()
    figure.savefig(content)  # matplotlib writes a PNG unless told otherwise
    return content.getvalue()


def _annotate(axes: Any, receipt: Receipt) -> None:
    axes.annotate(
        receipt.score_text,
        (max(1 - receipt.sparsity, LEAST), receipt.score),
        textcoords="offset points",
        xytext=(0, 9),
        ha="center",
        color=_BLUE if receipt.landed is None else _ORANGE,
    )


def _scatter(
    axes: Any, runs: Sequence[Run | Receipt], *, color: str, label: str, size: int
) -> None:
    if not runs:
        return  # nor a line in the legend
    axes.scatter(
        [max(1 - run.sparsity, LEAST) for run in runs],
        [run.score for run in runs],
        color=color,
        label=label,
        s=size,
        zorder=3,
    )


def _label(
    axes: Any, drawn: Sequence[Run | Receipt], sparsities: Sequence[float], metric: Metric
) -> None:
    axis = share_axis([1 - run.sparsity for run in drawn], [1 - s for s in sparsities])
    axes.set_xscale("log")
    axes.set_xlim(axis.most, axis.least)
    axes.margins(y=0.18)
    axes.set_xticks(axis.ticks, [f"{(1 - share) * 100:.6g} %" for share in axis.ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(
        lambda value, _: f"{value * 100:.4g} %" if metric.is_share else f"{value:.4g}"
    )
    axes.set_xlabel("sparsity (dotted: targets)" if sparsities else "sparsity")
    axes.set_ylabel(f"validation {metric.name}")
    axes.grid(axis="y", linewidth=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, loc="lower left")

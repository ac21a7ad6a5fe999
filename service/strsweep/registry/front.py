"""The picture of a sweep: score over sparsity, with the targets and the models chosen."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from strsweep.registry.receipt import Receipt
from strsweep.registry.report.share_axis import left_of, share_axis
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
    known = {receipt.run_id for receipt in delivered if receipt.landed is None}
    others = [run for run in finished if run.run_id not in known]
    _draw(axes, others, delivered)
    _label(axes, [*others, *delivered], sparsities, metric)
    content = io.BytesIO()
    figure.savefig(content)  # matplotlib writes a PNG unless told otherwise
    return content.getvalue()


def _draw(axes: Any, others: Sequence[Run], delivered: Sequence[Receipt]) -> None:
    for color, label, size, drawn in (
        (_GREY, "run", 30, others),
        (_BLUE, "delivered", 70, [each for each in delivered if each.landed is None]),
        (_ORANGE, "delivered, landed", 70, [each for each in delivered if each.landed]),
    ):
        if drawn:  # else there would be a line in the legend
            places = [left_of(each.sparsity) for each in drawn]
            scores = [each.score for each in drawn]
            axes.scatter(places, scores, color=color, label=label, s=size, zorder=3)
    for receipt in delivered:
        axes.annotate(
            receipt.score_text,
            (left_of(receipt.sparsity), receipt.score),
            textcoords="offset points",
            xytext=(0, 9),
            ha="center",
            color=_BLUE if receipt.landed is None else _ORANGE,
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

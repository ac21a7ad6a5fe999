"""The front of a sweep as a picture, beside the charts of MLflow, which are over steps or time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mlflow import MlflowClient
from PIL import Image

from strsweep.packages.receipt import Receipt
from strsweep.report.charts import share_axis

_KEY = "front"
_INCHES, _DPI = (6.4, 4.4), 150


def show_front(
    client: MlflowClient, mlflow_id: str, receipts: Sequence[Receipt], time: float
) -> None:
    """Log the picture of ``receipts``, the delivered models, unless MLflow has it.

    ``time``, in seconds, is when the last of them was published. MLflow shows the latest picture.

    Raises:
        MlflowException: The server does not answer.
    """
    if not receipts:
        return
    stamp = int(time * 1000)
    known = client.list_artifacts(mlflow_id, "images")
    if not any(f"timestamp+{stamp}+" in file.path for file in known):
        picture = front_picture(receipts)
        client.log_image(mlflow_id, picture, key=_KEY, step=0, timestamp=stamp)


def front_picture(receipts: Sequence[Receipt]) -> Image.Image:
    """Draw score over sparsity of at least one model, and the score of the dense network."""
    models = sorted(receipts, key=lambda receipt: receipt.sparsity)
    metric, dense = models[0].metric, models[0].dense_score
    unit = 100 if metric.is_share else 1
    points = [(1 - model.sparsity, unit * model.score) for model in models]
    figure = Figure(_INCHES, _DPI, layout="constrained")
    canvas, axes = FigureCanvasAgg(figure), figure.subplots()
    axes.plot(*zip(*points, strict=True), "D", color="#e8710a")
    for model, point in zip(models, points, strict=True):
        axes.annotate(model.score_text, point, (0, 9), textcoords="offset points", ha="center")
    if dense is not None:
        axes.axhline(unit * dense, color="grey", ls="--", label=f"dense {metric.text(dense)}")
        axes.legend(frameon=False)
    axes.set_ylabel(metric.name if metric.higher_is_better else f"{metric.name} (lower is better)")
    axes.margins(y=0.2)
    _scale(axes, [left for left, _ in points])
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _scale(axes: Axes, left: list[float]) -> None:
    """Let equal steps of the horizontal axis be equal factors of what is left, as in the report."""
    scale = share_axis(left, left, "sparsity in percent", is_pruned_shown=True)
    axes.set_xscale("log")
    axes.set_xlim(*(10**end for end in scale["range"]))
    axes.set_xticks(scale["tickvals"], scale["ticktext"])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(scale["title"]["text"])
    axes.spines[["top", "right"]].set_visible(False)

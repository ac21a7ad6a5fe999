"""The picture of a sweep: accuracy over sparsity, with the targets and the models chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strsweep.sweep.outcome import TargetOutcome
from strsweep.sweep.search import FinishedRun

_GREY, _BLUE, _ORANGE = "#8a8f98", "#1f6feb", "#d9730d"


def draw_front(
    path: Path, finished: Sequence[FinishedRun], states: Sequence[TargetOutcome]
) -> None:
    """Write a PNG: every finished run, a line per target, and the delivered models by name.

    The sparsity axis is logarithmic in the density, as 98 and 99 % differ as much as 80 and 90 %.
    """
    # Not pyplot: it keeps a global state and looks for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.add_subplot()
    for state in states:
        axes.axvline(1 - state.target, color=_GREY, linewidth=0.8, linestyle=":")
    hits = [state.run for state in states if state.run is not None]
    others = [run for run in finished if run not in hits]
    _scatter(axes, others, color=_GREY, label="run", size=30)
    _scatter(axes, hits, color=_BLUE, label="delivered", size=70)
    for run in hits:
        axes.annotate(
            f"{run.accuracy * 100:.2f} %",
            (1 - run.sparsity, run.accuracy),
            textcoords="offset points",
            xytext=(0, 9),
            ha="center",
            color=_BLUE,
        )
    _label(axes, [state.target for state in states])
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _scatter(axes: Any, runs: Sequence[FinishedRun], *, color: str, label: str, size: int) -> None:
    axes.scatter(
        [max(1 - run.sparsity, 1e-4) for run in runs],
        [run.accuracy for run in runs],
        color=color,
        label=label,
        s=size,
        zorder=3,
    )


def _label(axes: Any, targets: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set_xticks(
        [1 - target for target in targets], [f"{target * 100:g} %" for target in targets]
    )
    axes.minorticks_off()
    axes.margins(x=0.08, y=0.18)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value * 100:.4g} %")
    axes.set_xlabel("sparsity (dotted: targets)")
    axes.set_ylabel("validation accuracy")
    axes.grid(axis="y", linewidth=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower left")

"""The picture of the comparison of searches: cost per target, one dot per seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strsweep.bench.search_summary import CostSummary, title

_GREY, _BLUE, _INK = "#8a8f98", "#1f6feb", "#24292f"
_OURS = {"ours", "steered"}
_TICKS = (1, 2, 5, 10, 20)


def draw_costs(path: Path, summaries: Sequence[CostSummary]) -> None:
    """Write a PNG: a panel per problem, a row per method, the cheapest on top."""
    # Not pyplot: it keeps a global state and looks for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    problems = list(dict.fromkeys(summary.problem for summary in summaries))
    methods = _by_cost(summaries)
    figure = Figure(figsize=(8, 0.8 + 0.42 * len(methods)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, len(problems), sharey=True, sharex=True, squeeze=False)[0]
    for axes, problem in zip(panels, problems, strict=True):
        _axes(axes, problem, methods)
        for summary in summaries:
            if summary.problem == problem:
                _dots(axes, methods.index(summary.method), summary)
    figure.supxlabel(
        "cost per target, in full training runs (dot: a seed, bar: their median)",
        fontsize=10,
        color=_INK,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _by_cost(summaries: Sequence[CostSummary]) -> list[str]:
    highest: dict[str, float] = {}
    for summary in summaries:
        highest[summary.method] = max(highest.get(summary.method, 0.0), summary.median)
    return sorted(highest, key=lambda method: highest[method])


def _dots(axes: Any, place: int, summary: CostSummary) -> None:
    color = _BLUE if summary.method in _OURS else _GREY
    axes.plot([summary.costs[0], summary.costs[-1]], [place] * 2, color=color, lw=1.2, alpha=0.5)
    axes.scatter(
        summary.costs, [place] * len(summary.costs), color=color, s=16, alpha=0.5, linewidths=0
    )
    axes.scatter([summary.median], [place], color=color, marker="|", s=170, linewidths=2.2)
    missed = summary.wanted - summary.hits
    note = f"{summary.median:.1f}" + (f", {missed} of {summary.wanted} missed" if missed else "")
    axes.annotate(
        note,
        (summary.median, place),
        textcoords="offset points",
        xytext=(0, 8),
        ha="center",
        fontsize=8,
        color=color if summary.method in _OURS else _INK,
    )


def _axes(axes: Any, problem: str, methods: Sequence[str]) -> None:
    axes.set_title(problem, loc="left", fontsize=10, color=_INK)
    axes.set_xscale("log")
    axes.set_xlim(0.8, 26)
    axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    axes.minorticks_off()
    axes.set_yticks(range(len(methods)), [title(method) for method in methods])
    axes.set_ylim(len(methods) - 0.6, -0.75)
    axes.axvline(1, color=_GREY, linewidth=0.8, linestyle=":")
    axes.grid(axis="x", linewidth=0.3)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)

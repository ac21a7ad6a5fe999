"""The picture of the front as bytes: a PNG whose axis shows every run, and targets first."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure

from strsweep.registry.front import front_png
from strsweep.search.runs import Run, Status
from strsweep.settings import Metric, RunSettings, Target


def run(sparsity: float, score: float = 0.98) -> Run:
    return Run(
        run_id=f"run-{sparsity}",
        settings=RunSettings(weight_decay=0),
        target=None,
        status=Status.FINISHED,
        sparsity=sparsity,
        score=score,
    )


ACCURACY = Metric(name="accuracy")
RUNS = [run(sparsity) for sparsity in (0.0, 0.52, 0.9531, 0.99)]
TARGETS = [Target(sparsity=0.9), Target(sparsity=0.95), Target(macs=0.05)]


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> Any:
    figures: list[Figure] = []
    saved = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, to: (figures.append(figure), saved(figure, to))
    )
    assert front_png(RUNS, [], TARGETS, ACCURACY, dense_score=0.9874).startswith(b"\x89PNG")
    return figures[0].axes[0]


def test_every_run_is_inside(axes: Any) -> None:
    most, least = axes.get_xlim()
    [places] = [mark.get_offsets()[:, 0] for mark in axes.collections]
    assert len(places) == len(RUNS)
    assert all(least < place < most for place in places)


def test_a_network_without_weights_is_drawn() -> None:
    assert front_png([run(1.0, score=0.1)], [], TARGETS, ACCURACY).startswith(b"\x89PNG")


def test_targets_have_lines_and_labels(axes: Any) -> None:
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [round(1 - line.get_xdata()[0], 6) for line in dotted] == [0.9, 0.95]
    assert {"90 %", "95 %"} <= {label.get_text() for label in axes.get_xticklabels()}


def test_the_dense_network_is_a_dashed_line(axes: Any) -> None:
    (dashed,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert [*dashed.get_ydata()] == [0.9874, 0.9874]
    assert dashed.get_label() == "dense"


def test_the_axis_is_named_by_the_metric(axes: Any) -> None:
    assert axes.get_ylabel() == "validation accuracy"
    assert axes.yaxis.get_major_formatter()(0.98) == "98 %"


def test_nothing_to_draw_is_a_picture_too() -> None:
    assert front_png([], [], [], ACCURACY).startswith(b"\x89PNG")

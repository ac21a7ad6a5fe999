"""The picture of the front as bytes: a PNG whose axis shows every run, and targets first."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure

from strsweep.config import Target
from strsweep.registry.front import front_png
from strsweep.sweep.state import FinishedRun

RUNS = [
    FinishedRun(run_id=f"run-{number:03d}", position=0.5, sparsity=sparsity, accuracy=0.98)
    for number, sparsity in enumerate((0.0, 0.52, 0.9531, 0.99), start=1)
]
TARGETS = [Target(sparsity=0.9), Target(sparsity=0.95), Target(macs=0.05)]


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> Any:
    figures: list[Figure] = []
    saved = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, to: (figures.append(figure), saved(figure, to))
    )
    assert front_png(RUNS, [], TARGETS).startswith(b"\x89PNG")
    return figures[0].axes[0]


def test_every_run_is_inside(axes: Any) -> None:
    most, least = axes.get_xlim()
    [places] = [mark.get_offsets()[:, 0] for mark in axes.collections]
    assert len(places) == len(RUNS)
    assert all(least < place < most for place in places)


def test_a_network_without_weights_is_drawn() -> None:
    nothing_left = FinishedRun(run_id="run-009", position=1.0, sparsity=1.0, accuracy=0.1)
    assert front_png([nothing_left], [], TARGETS).startswith(b"\x89PNG")


def test_targets_have_lines_and_labels(axes: Any) -> None:
    assert [round(1 - line.get_xdata()[0], 6) for line in axes.lines] == [0.9, 0.95]
    assert {"90 %", "95 %"} <= {label.get_text() for label in axes.get_xticklabels()}


def test_nothing_to_draw_is_a_picture_too() -> None:
    assert front_png([], [], []).startswith(b"\x89PNG")

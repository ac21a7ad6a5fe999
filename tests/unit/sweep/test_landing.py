"""Which runs have exactly what was asked, and which may be shifted there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strsweep.config import Target
from strsweep.journal import LayerRow
from strsweep.sweep.landing import is_on_target
from strsweep.sweep.window import Window, largest_cut


def layer(*, weights: int, zeros: int, positions: int) -> LayerRow:
    return LayerRow(
        name="conv",
        parameter="conv.weight",
        weights=weights,
        zeros=zeros,
        sparsity=zeros / weights,
        dense_macs=weights * positions,
        macs=(weights - zeros) * positions,
        threshold=0.1,
    )


LAYERS = [
    layer(weights=100, zeros=95, positions=1),
    layer(weights=10, zeros=9, positions=5),
    layer(weights=10, zeros=10, positions=5),
]
"""114 of 120 weights are zeros; 10 of 200 multiply-adds are left."""


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"sparsity": 0.95}, True),
        ({"sparsity": 0.954}, True),  # 114.48
        ({"sparsity": 0.955}, False),  # 114.6
        ({"sparsity": 0.945}, False),  # 113.4
        ({"macs": 0.05}, True),
        ({"macs": 0.0549}, True),  # 10.98: no more than 10
        ({"macs": 0.055}, False),  # 11
        ({"macs": 0.0499}, False),
        ({"macs": 10}, True),
        ({"macs": 11}, False),
    ],
)
def test_on_target_to_the_weight(target: dict[str, float], expected: bool) -> None:
    assert is_on_target(Target.model_validate(target), LAYERS) is expected


def test_the_window_by_hand() -> None:
    # Of the 10 % that stay, at most 2 % may go: a run must end at 1 - 0.1 / 0.98 or above.
    window = Window.around(0.9, tolerance=0.005)
    assert window.low == pytest.approx(1 - 0.1 / 0.98)
    assert window.high == pytest.approx(0.905)
    assert Window.around(0.5, tolerance=0.005).low == pytest.approx(0.495)  # the tolerance limits


@given(st.floats(0.01, 0.999), st.floats(1e-6, 0.1), st.floats(0, 1))
def test_no_run_in_the_window_is_cut_by_more_than_is_harmless(
    pruned: float, tolerance: float, at: float
) -> None:
    window = Window.around(pruned, tolerance)
    assert pruned in window
    run = window.low + at * (pruned - window.low)
    assert (pruned - run) / (1 - run) <= largest_cut(1 - pruned) + 1e-9

"""Where a run must end so that it can be landed without harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strsweep.search.goal import Window

shares = st.floats(1e-3, 0.9999)


@pytest.mark.parametrize(
    ("pruned", "low", "high"),
    [
        # Of what the run kept landing prunes a tenth at most; it kept 70 % of what is wanted.
        (0.8, 1 - 0.2 / 0.9, 0.86),
        (0.9, 1 - 0.1 / 0.9, 0.93),
        (0.95, 1 - 0.05 / 0.9, 0.965),
        (0.98, 1 - 0.02 / 0.9, 0.986),
        (0.99, 1 - 0.01 / 0.9, 0.993),
        (0.995, 1 - 0.005 / 0.9, 0.9965),
        # A tenth of all weights: the dense network can be landed there.
        (0.1, 0.0, 0.37),
        (0.05, 0.0, 0.335),
    ],
)
def test_as_far_as_landing_is_harmless(pruned: float, low: float, high: float) -> None:
    window = Window.around(pruned, None)
    assert (window.low, window.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize(
    ("pruned", "tolerance", "low", "high"),
    [
        (0.9, 0.005, 0.895, 0.905),
        (0.98, 0.005, 1 - 0.02 / 0.9, 0.985),  # below, landing would cut more than a tenth
        (0.99, 0.005, 1 - 0.01 / 0.9, 0.993),
        (0.8, 0.4, 1 - 0.2 / 0.9, 0.86),
        (0.001, 0.01, 0.0, 0.011),
    ],
)
def test_a_tolerance_only_narrows(pruned: float, tolerance: float, low: float, high: float) -> None:
    window = Window.around(pruned, tolerance)
    assert (window.low, window.high) == (pytest.approx(low), pytest.approx(high))


@given(shares, st.none() | st.floats(1e-6, 0.49), st.floats(0, 1))
def test_a_window_holds_its_target_and_does_no_harm(
    pruned: float, tolerance: float | None, at: float
) -> None:
    window, widest = Window.around(pruned, tolerance), Window.around(pruned, None)
    assert 0 <= widest.low <= window.low <= pruned <= window.high <= widest.high <= 1
    assert pruned in window
    if tolerance is not None:
        assert window.high - window.low <= 2 * tolerance + 1e-12
    below = window.low + at * (pruned - window.low)
    assert (pruned - below) / (1 - below) <= 0.1 + 1e-9
    above = pruned + at * (window.high - pruned)
    assert 1 - above >= 0.7 * (1 - pruned) - 1e-12


def test_both_ends_are_inside() -> None:
    window = Window(low=0.25, high=0.5)
    assert [share in window for share in (0.2499, 0.25, 0.5, 0.5001)] == [False, True, True, False]

"""Where a run must end so that it can be landed without harm."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strsweep.sweep.window import Window, largest_cut, least_kept


@pytest.mark.parametrize(
    ("pruned", "low", "high"),
    [
        # Of the 2 % that stay, at most 5 % may go: a run must end at 1 - 0.02 / 0.95 or above.
        (0.98, 1 - 0.02 / 0.95, 0.985),
        # Of the 1 % that is wanted the run must have kept 72 %.
        (0.99, 1 - 0.01 / 0.95, 0.9928),
        (0.995, 1 - 0.005 / 0.95, 0.9964),
        # Of 5 % at most 5 %.
        (0.95, 1 - 0.05 / 0.95, 0.955),
        # Of 10 % up to 5 %, which would be 89.47 %: the tolerance limits.
        (0.9, 0.895, 0.905),
        (0.5, 0.495, 0.505),
    ],
)
def test_windows_by_hand(pruned: float, low: float, high: float) -> None:
    window = Window.around(pruned, tolerance=0.005)
    assert (window.low, window.high) == (pytest.approx(low), pytest.approx(high))


@given(st.floats(0.01, 0.999), st.floats(1e-6, 0.1), st.floats(0, 1))
def test_no_run_in_the_window_is_cut_by_more_than_is_harmless(
    pruned: float, tolerance: float, at: float
) -> None:
    window = Window.around(pruned, tolerance)
    assert pruned in window
    assert window.high - window.low <= 2 * tolerance + 1e-12
    run = window.low + at * (pruned - window.low)
    assert (pruned - run) / (1 - run) <= largest_cut(1 - pruned) + 1e-9


@given(st.floats(0.01, 0.999), st.floats(1e-6, 0.49), st.floats(0, 1))
def test_every_run_in_the_window_has_kept_most_of_what_it_is_landed_on(
    pruned: float, tolerance: float, at: float
) -> None:
    window = Window.around(pruned, tolerance)
    assert pruned in window
    run = pruned + at * (window.high - pruned)
    assert 1 - run >= least_kept(1 - pruned) * (1 - pruned) - 1e-9 >= 0.5 * (1 - pruned) - 1e-9


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_more_is_kept_the_more_may_be_cut(one: float, two: float) -> None:
    low, high = sorted([one, two])
    assert 0.05 <= largest_cut(low) <= largest_cut(high) <= 0.5


@pytest.mark.parametrize(
    ("kept", "least"), [(0.001, 0.72), (0.01, 0.72), (0.02, 0.61), (0.1, 0.522), (1.0, 0.5022)]
)
def test_the_fewer_are_wanted_the_more_of_them_must_be_there(kept: float, least: float) -> None:
    assert least_kept(kept) == pytest.approx(least)


def test_both_ends_are_inside() -> None:
    window = Window(low=0.25, high=0.5)
    assert 0.25 in window
    assert 0.5 in window
    assert 0.2499 not in window
    assert 0.5001 not in window

"""What is asked for, the limits that forbid another run, and where runs may end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_sweeps import FORKED, PROBLEM, begun, digits, ended, shared_start, state_of

from strsweep.errors import SettingError
from strsweep.search.goal import Goal, Usage, Window
from strsweep.search.runs import Status
from strsweep.settings import RunSettings

WHOLE = RunSettings(threshold_init=-10, weight_decay=0.02)


def test_a_target_above_the_dense_network_is_refused() -> None:
    experiment = digits("search.targets=[{macs: 452224}]")
    with pytest.raises(SettingError, match="has 452,224 multiply-adds: ask for fewer"):
        Goal.of(experiment, PROBLEM)


@pytest.mark.parametrize(
    ("limit", "usage", "promised", "needed", "told"),
    [
        ("max_runs=40", Usage(runs=39, epochs=10**6, hours=1e6), 30, 30, None),
        ("max_runs=40", Usage(runs=40), 0, 30, "max_runs (40) is spent"),
        ("max_epochs=100", Usage(runs=3, epochs=50), 20, 30, None),
        ("max_epochs=100", Usage(runs=3, epochs=50), 21, 30, "max_epochs (100) leaves no room for"),
        ("max_epochs=100", Usage(runs=3, epochs=50), 30, 20, None),
        ("max_hours=2", Usage(runs=3, hours=1.999), 0, 30, None),
        ("max_hours=2", Usage(runs=3, hours=2.0), 0, 30, "max_hours (2) is over"),
        ("max_hours=2", Usage(runs=40, hours=3), 0, 30, "max_runs (40) is spent"),
    ],
)
def test_limits_by_hand(
    limit: str, usage: Usage, promised: int, needed: int, told: str | None
) -> None:
    exceeded = Goal.of(digits(f"search.{limit}"), PROBLEM).exceeded(usage, promised, needed)
    assert told is None if exceeded is None else str(exceeded).startswith(f"search.{told}")


def test_epochs_that_runs_under_way_still_need() -> None:
    experiment = digits()
    runs = (
        begun(shared_start(experiment), 4),  # of 10
        begun(shared_start(experiment, is_whole=True), 4),  # of 30
        begun(ended(2, FORKED, 0.9)),  # begins at 10
        begun(ended(3, FORKED, 0.9), 25),
        begun(ended(4, WHOLE, 0.9)),
        begun(ended(5, WHOLE, 0.9), 12, status=Status.PAUSED),  # this job does not train it
        ended(6, WHOLE, 0.9),
    )
    state = state_of(experiment, *runs)
    assert state.promised == 6 + 26 + 20 + 5 + 30
    assert state.epochs_left(FORKED) == 20
    assert state.epochs_left(WHOLE) == 30


shares = st.floats(1e-3, 0.9999)


@pytest.mark.parametrize(
    ("pruned", "tolerance", "low", "high"),
    [
        # Of what the run kept landing prunes a tenth at most; it kept 70 % of what is wanted.
        (0.8, None, 1 - 0.2 / 0.9, 0.86),
        (0.9, None, 1 - 0.1 / 0.9, 0.93),
        (0.98, None, 1 - 0.02 / 0.9, 0.986),
        (0.995, None, 1 - 0.005 / 0.9, 0.9965),
        (0.1, None, 0.0, 0.37),  # a tenth of all weights: the dense network can be landed there
        (0.05, None, 0.0, 0.335),
        # A tolerance only narrows.
        (0.9, 0.005, 0.895, 0.905),
        (0.98, 0.005, 1 - 0.02 / 0.9, 0.985),
        (0.99, 0.005, 1 - 0.01 / 0.9, 0.993),
        (0.8, 0.4, 1 - 0.2 / 0.9, 0.86),
        (0.001, 0.01, 0.0, 0.011),
    ],
)
def test_windows_by_hand(pruned: float, tolerance: float | None, low: float, high: float) -> None:
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

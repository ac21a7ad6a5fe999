"""The search path maps positions to settings and back, and rises towards more sparsity."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from search_simulation import PROBLEM, digits

from strsweep.config import RunSettings
from strsweep.sweep.clock import DecayClock
from strsweep.sweep.path import SearchPath

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A shared machine may be slow; that is no failure."""

CLOCK = DecayClock(epochs=(165.0,), bite=4.4, hardness=0.67)
positions = st.floats(0, 1)
ratios = st.floats(1.05, 1e4)
decays = st.floats(1e-7, 1e-1)
inits = st.floats(-2e4, -0.1)


def path(init: tuple[float, float], decay: tuple[float, float]) -> SearchPath:
    return SearchPath(init, decay, CLOCK)


boxes = st.one_of(
    st.builds(lambda low, ratio, s: path((s, s), (low, low * ratio)), decays, ratios, inits),
    st.builds(lambda s, ratio, w: path((s * ratio, s), (w, w)), inits, ratios, decays),
    st.builds(
        lambda low, ratio, s, other: path((s * other, s), (low, low * ratio)),
        decays,
        ratios,
        inits,
        ratios,
    ),
)


@unhurried
@given(boxes, positions)
def test_locate_undoes_at(path: SearchPath, position: float) -> None:
    # Six digits of a value, over the logarithm of the range's ratio.
    assert path.contains(path.at(position))
    assert path.locate(path.at(position)) == pytest.approx(position, abs=6e-6 / math.log(1.05))


@unhurried
@given(boxes, positions, positions)
def test_path_rises_in_both_settings(path: SearchPath, one: float, two: float) -> None:
    low, high = path.at(min(one, two)), path.at(max(one, two))
    assert low.weight_decay <= high.weight_decay
    assert (low.threshold_init or 0) <= (high.threshold_init or 0)
    assert (np.diff(path.drives(np.sort([one, two]))) >= 0).all()


@unhurried
@given(boxes)
def test_ends_are_the_ends_of_the_ranges(path: SearchPath) -> None:
    for position, end in ((0.0, 0), (1.0, 1)):
        settings = path.at(position)
        assert settings.weight_decay == pytest.approx(path.weight_decay[end], rel=1e-5)
        assert settings.threshold_init == pytest.approx(path.threshold_init[end], rel=1e-5)


def test_middle_is_the_geometric_mean() -> None:
    middle = path((-10000.0, -1.0), (1e-6, 1e-2))
    assert middle.at(0.5) == RunSettings(threshold_init=-100, weight_decay=1e-4)
    assert middle.at(0.25) == RunSettings(threshold_init=-1000, weight_decay=1e-5)


def test_ends_that_were_written_are_met_exactly() -> None:
    box = path((-12800.0, -25.0), (4e-3, 2.4e-2))
    assert box.at(0) == RunSettings(threshold_init=-12800, weight_decay=4e-3)
    assert box.at(1) == RunSettings(threshold_init=-25, weight_decay=2.4e-2)


def test_weight_decay_of_zero_stays_zero() -> None:
    of = digits("search.threshold_init=[-100, -1]", "search.weight_decay=0")
    still = SearchPath.of(of, PROBLEM)
    assert {still.at(p).weight_decay for p in (0, 0.3, 1)} == {0}
    assert still.locate(still.at(0.3)) == pytest.approx(0.3, abs=1e-5)


def test_fixed_setting_is_used_to_the_last_digit() -> None:
    fixed = 2.0**-15  # 0.000030517578125, a weight decay of the paper's authors
    of = digits("search.threshold_init=[-100, -1]", f"search.weight_decay={fixed}")
    assert SearchPath.of(of, PROBLEM).at(0.5).weight_decay == fixed


@unhurried
@given(boxes, positions, st.floats(0.05, 20))
def test_off_the_path_the_drive_is_the_same(
    path: SearchPath, position: float, factor: float
) -> None:
    first = path.at(position).threshold_init
    assert first is not None
    moved = path.off_path(position, first * factor)
    drive = path.drives(np.asarray([position]))[0]
    if moved is None:
        assert drive + CLOCK.delay(first * factor) <= 0
        return
    assert moved.threshold_init == first * factor
    assert CLOCK.drive(first * factor, moved.weight_decay) == pytest.approx(drive, abs=1e-3)


@unhurried
@given(positions, st.floats(0.3, 4))
def test_a_run_of_another_init_is_located_where_the_drive_is_the_same(
    position: float, factor: float
) -> None:
    assume(abs(factor - 1) > 1e-3)
    box = path((-10.0, -10.0), (4e-3, 2.4e-2))
    moved = box.off_path(position, -10.0 * factor)
    assume(moved is not None)
    assert moved is not None
    assert not box.contains(moved)
    assert box.locate(moved) == pytest.approx(position, abs=1e-3)


def test_runs_of_other_ranges_have_a_place_too() -> None:
    box = path((-10.0, -10.0), (4e-3, 2.4e-2))
    wider = path((-10.0, -10.0), (1e-3, 1e-1))
    for position in (0.1, 0.5, 0.9):
        settings = wider.at(position)
        place = box.locate(settings)
        expected = math.log(settings.weight_decay / 4e-3) / math.log(6)
        assert place == pytest.approx(expected, abs=1e-4)
    far = (
        RunSettings(threshold_init=-1e4, weight_decay=1e-9),
        RunSettings(threshold_init=-1e-3, weight_decay=1e20),
    )
    assert [box.locate(settings) for settings in far] == [-20, 21]


def test_thresholds_with_a_decay_of_their_own_are_not_moved_off_the_path() -> None:
    apart = SearchPath.of(digits("sparsity.threshold_decay=1e-2"), PROBLEM)
    assert apart.clock.threshold_decay == 1e-2
    assert apart.off_path(0.5, -20.0) is None

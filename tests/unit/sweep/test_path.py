"""The search path maps positions to settings and back, and rises towards more sparsity."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strsweep.config import RunSettings, SearchConfig
from strsweep.sweep.path import SearchPath

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A shared machine may be slow; that is no failure."""

positions = st.floats(0, 1)
ratios = st.floats(1.05, 1e4)
decays = st.floats(1e-7, 1e-1)
inits = st.floats(-2e4, -0.1)
boxes = st.one_of(
    st.builds(lambda low, ratio, s: SearchPath((s, s), (low, low * ratio)), decays, ratios, inits),
    st.builds(lambda s, ratio, w: SearchPath((s * ratio, s), (w, w)), inits, ratios, decays),
    st.builds(
        lambda low, ratio, s, other: SearchPath((s * other, s), (low, low * ratio)),
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
    assert path.locate(path.at(position)) == pytest.approx(position, abs=6e-6 / math.log(1.05))


@unhurried
@given(boxes, positions, positions)
def test_path_rises_in_both_settings(path: SearchPath, one: float, two: float) -> None:
    low, high = path.at(min(one, two)), path.at(max(one, two))
    assert low.weight_decay <= high.weight_decay
    assert low.threshold_init <= high.threshold_init


@unhurried
@given(boxes)
def test_ends_are_the_ends_of_the_ranges(path: SearchPath) -> None:
    for position, end in ((0.0, 0), (1.0, 1)):
        settings = path.at(position)
        assert settings.weight_decay == pytest.approx(path.weight_decay[end], rel=1e-5)
        assert settings.threshold_init == pytest.approx(path.threshold_init[end], rel=1e-5)


def test_middle_is_the_geometric_mean() -> None:
    path = SearchPath((-10000.0, -1.0), (1e-6, 1e-2))
    assert path.at(0.5) == RunSettings(threshold_init=-100, weight_decay=1e-4)
    assert path.at(0.25) == RunSettings(threshold_init=-1000, weight_decay=1e-5)


def test_ends_that_were_written_are_met_exactly() -> None:
    path = SearchPath((-12800.0, -25.0), (4e-3, 2.4e-2))
    assert path.at(0) == RunSettings(threshold_init=-12800, weight_decay=4e-3)
    assert path.at(1) == RunSettings(threshold_init=-25, weight_decay=2.4e-2)


def test_weight_decay_of_zero_stays_zero() -> None:
    path = SearchPath.of(SearchConfig(threshold_init=(-100, -1), weight_decay=0))
    assert {path.at(p).weight_decay for p in (0, 0.3, 1)} == {0}
    assert path.locate(path.at(0.3)) == pytest.approx(0.3, abs=1e-5)


def test_fixed_setting_is_used_to_the_last_digit() -> None:
    fixed = 2.0**-15  # 0.000030517578125, a weight decay of the paper's authors
    path = SearchPath.of(SearchConfig(threshold_init=(-100, -1), weight_decay=fixed))
    assert path.at(0.5).weight_decay == fixed


@pytest.mark.parametrize(
    ("init", "decay", "is_point"),
    [
        (-10.0, 1e-4, True),
        ((-20.0, -10.0), 1e-4, False),
        (-10.0, (1e-5, 1e-4), False),
        ((-20.0, -10.0), (1e-5, 1e-4), False),
    ],
)
def test_path_is_a_point_if_both_are_fixed(
    init: float | tuple[float, float], decay: float | tuple[float, float], is_point: bool
) -> None:
    path = SearchPath.of(SearchConfig(threshold_init=init, weight_decay=decay))
    assert path.is_point is is_point

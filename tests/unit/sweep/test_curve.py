"""The learned curve rises, goes through runs that agree and averages runs that do not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from strsweep.sweep.curve import SATURATION, SparsityCurve, logit

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A shared machine may be slow; that is no failure."""

inside = st.integers(1, 999).map(lambda n: n / 1000)
points = st.lists(st.tuples(inside, inside), min_size=2, max_size=12)


def rising(pairs: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Return distinct positions and distinct sparsities, both rising."""
    x, y = sorted({a for a, _ in pairs}), sorted({b for _, b in pairs})
    num = min(len(x), len(y))
    return x[:num], y[:num]


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_logit_is_cut_off_near_0_and_1() -> None:
    assert logit(0.5) == 0
    assert logit(0.9) == pytest.approx(math.log(9))
    assert logit(0) == logit(SATURATION) == pytest.approx(-math.log(9999))
    assert logit(1) == logit(1 - SATURATION) == pytest.approx(math.log(9999))


@unhurried
@given(points)
def test_curve_goes_through_consistent_runs(pairs: list[tuple[float, float]]) -> None:
    x, y = rising(pairs)
    assume(len(x) > 1)
    curve = SparsityCurve(x, y)
    assert [curve.position_of(level) for level in y] == pytest.approx(x, abs=1e-6)


@unhurried
@given(points, st.lists(inside, min_size=2, max_size=8))
def test_position_rises_with_sparsity(pairs: list[tuple[float, float]], asked: list[float]) -> None:
    curve = SparsityCurve([a for a, _ in pairs], [b for _, b in pairs])
    assume(not curve.is_flat)
    found = np.array([curve.position_of(level) for level in sorted(asked)])
    assert np.isfinite(found).all()
    assert (np.diff(found) >= -1e-9).all()


@unhurried
@given(points)
def test_order_of_the_runs_does_not_matter(pairs: list[tuple[float, float]]) -> None:
    pairs = list({a: (a, b) for a, b in pairs}.values())
    turned = pairs[::-1]
    one, two = (SparsityCurve(*map(list, zip(*ps, strict=True))) for ps in (pairs, turned))
    assert one.is_flat == two.is_flat
    assume(not one.is_flat)
    assert one.position_of(0.7) == pytest.approx(two.position_of(0.7), rel=1e-9)


@unhurried
@given(points, inside)
def test_the_inverse_of_the_inverse_is_the_sparsity(
    pairs: list[tuple[float, float]], level: float
) -> None:
    x, y = rising(pairs)
    assume(len(x) > 1 and y[0] < level < y[-1] and level not in y)
    position = SparsityCurve(x, y).position_of(level)
    assert x[0] < position < x[-1]
    # The curve that also knows this place puts the same sparsity there again.
    again = SparsityCurve([*x, position], [*y, level])
    assert again.position_of(level) == pytest.approx(position, abs=1e-6)


def test_a_logistic_curve_is_known_from_two_runs() -> None:
    curve = SparsityCurve([0.25, 0.75], [logistic(-1), logistic(3)])
    for position in (-0.2, 0.0, 0.25, 0.3, 0.5, 0.75, 0.9, 1.1):
        assert curve.position_of(logistic(8 * position - 3)) == pytest.approx(position)


def test_contradicting_runs_are_pooled_at_their_middle() -> None:
    low, high = logistic(0.9), logistic(1.1)
    curve = SparsityCurve([0.0, 0.4, 0.6, 1.0], [logistic(0), high, low, logistic(2)])
    assert curve.position_of(logistic(1.0)) == pytest.approx(0.5)
    assert curve.position_of(logistic(0)) == pytest.approx(0)
    assert curve.position_of(logistic(2)) == pytest.approx(1)


def test_line_goes_on_beyond_a_pooled_end() -> None:
    curve = SparsityCurve([0.0, 0.4, 0.6], [logistic(0), logistic(1.1), logistic(0.9)])
    assert curve.position_of(logistic(2)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("positions", "sparsities"),
    [([0.5], [0.9]), ([0.2, 0.8], [0.5, 0.5]), ([0.2, 0.8], [0.9, 0.1]), ([0.5, 0.5], [0.1, 0.9])],
)
def test_runs_without_a_rise_are_flat(positions: list[float], sparsities: list[float]) -> None:
    assert SparsityCurve(positions, sparsities).is_flat


@unhurried
@given(st.sampled_from([0.0, 0.2, 0.7, 1.0]), st.sets(inside, min_size=2, max_size=12))
@example(level=1.0, positions={0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0})
def test_equal_runs_are_flat_however_many(level: float, positions: set[float]) -> None:
    # The mean of equal numbers can differ from them in the last bit.
    assert SparsityCurve(list(positions), [level] * len(positions)).is_flat


def test_saturated_runs_carry_no_slope() -> None:
    assert SparsityCurve([0.2, 0.8], [0.99999, 1.0]).is_flat
    assert SparsityCurve([0.2, 0.8], [0.0, 1e-5]).is_flat

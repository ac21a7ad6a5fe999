"""The learned curve goes through runs that agree, averages those that do not, knows its error."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strsweep.sweep.curve import SATURATION, Shape, SmoothCurve, expit, logit
from strsweep.sweep.observations import Observations

unhurried = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A shared machine may be slow; that is no failure."""

GRID = np.linspace(0.0, 1.0, 101)
LINE = Shape(
    candidates=lambda x: np.stack([8 * x - 3, 5 * x - 1], axis=1),
    priors=np.zeros(2),
    offset=0.3,
    tilt=1.0,
    ripples=((0.1, 0.0), (0.5, 0.0)),
    length=0.3,
)
inside = st.floats(0, 1)
places = st.lists(inside, min_size=1, max_size=12, unique_by=lambda x: round(x, 2))


def bent(x: np.ndarray) -> np.ndarray:
    return 7 * x - 2 + 1.2 * x * (1 - x)


def test_logit_is_cut_off_near_0_and_1() -> None:
    assert logit(0.5) == 0
    assert logit(0.9) == pytest.approx(math.log(9))
    assert logit(0) == logit(SATURATION) == pytest.approx(-math.log(9999))
    assert logit(1) == logit(1 - SATURATION) == pytest.approx(math.log(9999))


@given(st.floats(-9, 9))
def test_expit_undoes_logit(level: float) -> None:
    assert logit(expit(level)) == pytest.approx(level, abs=1e-9)


def test_without_observations_it_is_what_is_believed_before() -> None:
    before = SmoothCurve(LINE).predict(GRID)
    assert before.mean == pytest.approx(6.5 * GRID - 2)
    # The candidates are 1 apart at x = 1, so each is 0.5 from the middle.
    own = 0.3**2 + 1.0**2 + (0.1**2 + 0.5**2) / 2
    assert before.curve_sd[-1] == pytest.approx(math.sqrt(own + 0.5**2), rel=1e-6)


@unhurried
@given(places)
def test_the_covariance_is_one_and_its_diagonal_the_error_of_the_curve(x: list[float]) -> None:
    seen = [None, Observations.of_runs(x, bent(np.asarray(x)))]
    grid = GRID[::10]
    for curve in (SmoothCurve(LINE, observations) for observations in seen):
        covariance = curve.covariance(grid)
        assert covariance == pytest.approx(covariance.T)
        assert np.linalg.eigvalsh(covariance).min() > -1e-6
        assert covariance.diagonal() == pytest.approx(curve.predict(grid).curve_sd ** 2, abs=1e-8)


def test_what_one_more_run_will_leave_unknown_is_known_before_it() -> None:
    line = replace(
        LINE,
        candidates=lambda x: (8 * x - 3)[:, None],
        priors=np.zeros(1),
        tilt=0.0,  # else it turns around the run to come
        ripples=((0.3, 0.0),),
    )
    x = np.asarray([0.5, 0.9])
    before = SmoothCurve(line)
    covariance, noise = before.covariance(x), before.predict(x).noise[1]
    after = SmoothCurve(line, Observations.of_runs([0.9], [8 * 0.9 - 3])).predict(x[:1])
    told = covariance[0, 1] ** 2 / (covariance[1, 1] + noise**2)
    assert after.curve_sd[0] ** 2 == pytest.approx(covariance[0, 0] - told, rel=0.02)
    assert told > 0.4 * covariance[0, 0]


def test_observations_that_follow_a_candidate_are_gone_through() -> None:
    x = np.linspace(0.1, 0.9, 6)
    curve = SmoothCurve(LINE, Observations.of_runs(x, bent(x)))
    assert curve.predict(x).mean == pytest.approx(bent(x), abs=0.03)
    between = np.linspace(0.1, 0.9, 40)
    found = curve.predict(between)
    assert found.mean == pytest.approx(bent(between), abs=0.1)
    assert found.curve_sd.max() < 0.2


@unhurried
@given(places, st.integers(0, 1000))
def test_mean_rises_and_errors_are_finite(x: list[float], seed: int) -> None:
    y = np.random.default_rng(seed).normal(0, 3, len(x))
    found = SmoothCurve(LINE, Observations.of_runs(x, list(y))).predict(GRID)
    assert (np.diff(found.mean) >= 0).all()
    assert np.isfinite(found.mean).all()
    assert (found.curve_sd >= 0).all()
    assert (found.sd >= found.noise).all()
    assert (found.noise > 0).all()


@unhurried
@given(places, st.integers(0, 1000))
def test_order_of_the_observations_does_not_matter(x: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = bent(np.asarray(x)) + rng.normal(0, 0.1, len(x))
    one = SmoothCurve(LINE, Observations.of_runs(x, list(y))).predict(GRID)
    two = SmoothCurve(LINE, Observations.of_runs(x[::-1], list(y[::-1]))).predict(GRID)
    assert two.mean == pytest.approx(one.mean, abs=1e-6)
    assert two.sd == pytest.approx(one.sd, abs=1e-6)


@pytest.mark.parametrize("count", [3, 5, 8])
def test_nine_of_ten_new_runs_end_within_the_interval_of_90_percent(count: int) -> None:
    hits: list[bool] = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        ripple = rng.normal(0, 0.3, 3)
        drawn = [rng.normal(0, 0.3), rng.normal(0, 1.0), rng.choice([5.0, 8.0])]
        sd = 0.04 * math.exp(rng.normal(0, 0.4))

        def truth(x: np.ndarray, drawn: list[float] = drawn, ripple: np.ndarray = ripple):
            waves = sum(a * np.sin((n + 1) * 2.5 * x) for n, a in enumerate(ripple))
            base = 8 * x - 3 if drawn[2] == 8.0 else 5 * x - 1
            return base + drawn[0] + drawn[1] * (x - 0.5) + waves

        x, new = rng.uniform(0, 1, count), np.sort(rng.uniform(0, 1, 10))
        found = SmoothCurve(
            LINE, Observations.of_runs(list(x), list(truth(x) + rng.normal(0, sd, count)))
        ).predict(new)
        error = truth(new) + rng.normal(0, sd, 10) - found.mean
        hits += list(np.abs(error) <= 1.645 * found.sd)
    assert 0.8 <= np.mean(hits) <= 0.98


def test_runs_that_contradict_each_other_show_the_noise() -> None:
    x = [0.3, 0.3, 0.5, 0.5, 0.7, 0.7]
    quiet, loud = (
        SmoothCurve(
            LINE,
            Observations.of_runs(
                x, [8 * p - 3 + sign * d for p, sign in zip(x, (1, -1) * 3, strict=True)]
            ),
        )
        for d in (0.01, 0.4)
    )
    assert quiet.predict(GRID).noise.max() < 0.05
    assert loud.predict(GRID).noise.min() > 0.2
    assert loud.predict(np.asarray([0.5])).mean[0] == pytest.approx(1.0, abs=0.15)


def test_an_uncertain_observation_weighs_less() -> None:
    x, y = [0.2, 0.5, 0.8], [8 * 0.2 - 3, 1.2, 8 * 0.8 - 3]
    sure = SmoothCurve(LINE, Observations.of_runs(x, y)).predict(np.asarray([0.5]))
    unsure = SmoothCurve(LINE, Observations.of_runs(x, y, [0.0, 1.0, 0.0])).predict(
        np.asarray([0.5])
    )
    assert abs(unsure.mean[0] - 1.0) < abs(sure.mean[0] - 1.0)
    assert unsure.curve_sd[0] > sure.curve_sd[0]


def test_a_run_under_way_keeps_what_sets_it_apart() -> None:
    x = np.asarray([0.1, 0.3, 0.5, 0.7, 0.9, 0.6])
    y = 8 * x - 3 + np.asarray([0, 0, 0, 0, 0, 0.1])
    error = np.diag([0.0] * 5 + [0.01**2])
    whole = Observations.of_runs(x, y)
    curve = SmoothCurve(LINE, replace(whole, error=error))
    place = np.asarray([0.6])
    new, known = curve.predict(place), curve.predict(place, np.asarray([5]))
    assert known.mean[0] == pytest.approx(8 * 0.6 - 3 + 0.1, abs=0.01)
    assert known.mean[0] > new.mean[0]
    assert known.sd[0] < new.sd[0]
    assert known.sd[0] == pytest.approx(0.01, rel=0.1), "its noise is known but for the error"


def test_a_hundred_and_one_equal_places_do_no_harm() -> None:
    found = SmoothCurve(LINE, Observations.of_runs([0.5] * 150, [1.0] * 150)).predict(GRID)
    assert found.mean[50] == pytest.approx(1.0, abs=0.02)


def test_probability_of_a_window_by_hand() -> None:
    found = SmoothCurve(LINE).predict(GRID)
    assert found.probability(-100, 100) == pytest.approx(np.ones(101))
    middle = found.mean[50]
    assert found.probability(middle, 100)[50] == pytest.approx(0.5)
    one_sd = found.probability(middle - found.sd[50], middle + found.sd[50])[50]
    assert one_sd == pytest.approx(0.6827, abs=1e-4)

"""The law from exposure to sparsity: by hand, backwards, and as what leads a run to its target."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from samples import load

from strsweep.config import TrainingConfig
from strsweep.settings import Lead
from strsweep.training import law as law_module
from strsweep.training.law import (
    FITTED,
    Fitted,
    Law,
    ThresholdClock,
    expit,
    logit,
    pruning_level,
)
from strsweep.training.leader import Leader
from strsweep.training.schedule import decay_clock

LOGIT_90 = math.log(9)
LAW = Law(steepness=1.7)
DIGITS_LIKE = TrainingConfig(
    epochs=30, warmup_epochs=0, learning_rate=0.1, momentum=0.9, schedule_every="step"
)


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fix the numbers that the values below were computed with."""
    numbers = Fitted(
        knee=4.0,
        reference=0.7,
        by_clock=0.6,
        by_weights=0.5,
        prior=0.01,
        caution=8.0,
        highest=3.0,
        pruning_share=0.25,
        steepness_own=1.7,
        steepness_shared=1.5,
    )
    monkeypatch.setattr(law_module, "FITTED", numbers)


@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize(
    ("exposure", "level"),
    [
        # ln 9 + 2 ln(ln(1 + exp(4 x)) / 4) of x = exposure / exposure_at_90
        (0.0, 2.1972246 + 2 * math.log(0.6931472 / 4)),
        (3.0, 2.1972246 + 2 * math.log(4.0181499 / 4)),
        (6.0, 2.1972246 + 2 * math.log(8.0003354 / 4)),
        (-3.0, 2.1972246 + 2 * math.log(0.0181499 / 4)),
        (600.0, 2.1972246 + 2 * math.log(125)),
    ],
)
def test_levels_by_hand(exposure: float, level: float) -> None:
    law = Law(steepness=2.0)
    assert law.level(exposure, exposure_at_90=3.0) == pytest.approx(level, abs=1e-5)


@pytest.mark.usefixtures("by_hand")
def test_exposures_by_hand() -> None:
    # ln(exp(4 e) - 1) / 4 with e = exp((level - ln 9) / steepness), here 1 and 2
    law = Law(steepness=2.0)
    assert law.relative_exposure(LOGIT_90) == pytest.approx(math.log(53.59815) / 4)
    double = LOGIT_90 + 2 * math.log(2)
    assert law.relative_exposure(double) == pytest.approx(math.log(2979.958) / 4)


steepnesses = st.floats(1.2, 2.2)
unknowns = st.floats(0.05, 20)
levels = st.floats(-13, 8)  # next to nothing to 99.97 %


@given(steepnesses, unknowns, levels)
def test_the_exposure_of_a_level_leads_there(
    steepness: float, unknown: float, level: float
) -> None:
    law = Law(steepness=steepness)
    exposure = unknown * law.relative_exposure(level)
    assert law.level(exposure, unknown) == pytest.approx(level, abs=1e-6)


@given(steepnesses, unknowns, st.floats(-2, 6), st.floats(-2, 6))
def test_more_exposure_prunes_more(
    steepness: float, unknown: float, one: float, two: float
) -> None:
    law = Law(steepness=steepness)
    assume(abs(one - two) > 1e-3)
    first, second = (law.level(relative * unknown, unknown) for relative in (one, two))
    assert (first < second) == (one < two)


@given(st.floats(0, 1))
def test_logits_of_shares(share: float) -> None:
    assert expit(logit(share)) == pytest.approx(share, abs=2e-6)
    assert logit(1 - share) == pytest.approx(-logit(share), abs=1e-6)


def test_shares_of_far_logits() -> None:
    assert (expit(-1e4), expit(1e4), expit(0)) == (0, 1, 0.5)
    assert [logit(0.0), -logit(1.0)] == pytest.approx([math.log(1e-6)] * 2, abs=1e-5)


@pytest.mark.usefixtures("by_hand")
def test_what_is_expected_of_a_recipe_by_hand() -> None:
    assert LAW.expected(165, 69_904) == pytest.approx(0.7)
    assert LAW.expected(165 * 32, 69_904) == pytest.approx(0.7 * 8)  # 32^0.6
    assert LAW.expected(165, 4 * 69_904) == pytest.approx(0.7 / 2)


@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize(("decay", "steepness"), [("own", 1.7), ("shared", 1.5)])
def test_the_law_of_a_recipe(decay: str, steepness: float) -> None:
    assert Law.of(load(f"search.decay={decay}")).steepness == steepness


@pytest.mark.usefixtures("by_hand")
@pytest.mark.parametrize(
    ("overrides", "scale", "level"),
    [
        ((), 0.04, math.log(99)),  # sigmoid(-s) of a hundredth
        (("sparsity.scale=2",), 0.08, math.log(99)),
        (("sparsity.function=exp",), 0.04, math.log(100)),
        ((), 1.2, 0.8472979),  # of 0.3: ln(7 / 3)
        ((), 50.0, 0.5),
        (("sparsity.function=exp",), 50.0, 0.5),
    ],
)
def test_thresholds_prune_from_a_quarter_of_the_median_weight_on(
    overrides: tuple[str, ...], scale: float, level: float
) -> None:
    assert pruning_level(load(*overrides), scale) == pytest.approx(level)


# What runs of a recipe ended with says both of its unknowns.


def on_a_line(unknown: float, late: float, *shares: float) -> list[tuple[float, float]]:
    """Return exposures and ends of runs that follow the law exactly."""
    ends = [logit(share) for share in shares]
    return [(unknown * LAW.relative_exposure(end) + late, end) for end in ends]


@given(unknowns, levels)
def test_without_runs_the_guess_is_believed(expected: float, level: float) -> None:
    belief = LAW.believe(expected, [], level)
    assert belief.exposure_at_90 == pytest.approx(expected)
    assert belief.late == 0


near = st.floats(1, 4.5)  # 73 to 98.9 %


@pytest.mark.parametrize(("times", "error"), [(1, 0.1), (1000, 1e-3)])
@given(expected=unknowns, factor=st.floats(0.3, 3), late=st.floats(-0.5, 0.5), level=near)
def test_runs_on_a_line_show_it(
    times: int, error: float, expected: float, factor: float, late: float, level: float
) -> None:
    runs = on_a_line(factor * expected, late * expected, 0.7, 0.9, 0.97, 0.99) * times
    belief = LAW.believe(expected, runs, level)
    assert belief.exposure_at_90 / expected == pytest.approx(factor, abs=error)
    assert belief.late / expected == pytest.approx(late, abs=error)


@given(
    st.lists(st.tuples(st.floats(0.1, 5), st.floats(0, 6)), min_size=1, max_size=5),
    unknowns,
    levels,
)
def test_beliefs_are_those_of_ridge_regression(
    shown: list[tuple[float, float]], expected: float, level: float
) -> None:
    """Equal to the least squares of numpy, with the guesses as two more observations."""
    rows = [(1.0, 0.0, 1.0, FITTED.prior), (0.0, 1.0, 0.0, FITTED.prior)]
    for share, end in shown:
        relative = LAW.relative_exposure(end)
        assert relative > 0
        weight = 1 / (max(relative, 0.5) * (1 + abs(end - level))) ** 2
        rows.append((relative, 1.0, share, weight))
    table = np.array([[math.sqrt(row[3]) * value for value in row[:3]] for row in rows])
    (unknown, late), *_ = np.linalg.lstsq(table[:, :2], table[:, 2], rcond=None)
    belief = LAW.believe(expected, [(share * expected, end) for share, end in shown], level)
    assert belief.exposure_at_90 / expected == pytest.approx(max(unknown, 0.1), abs=1e-6)
    assert belief.late / expected == pytest.approx(late, abs=1e-6)


def test_a_run_that_pruned_next_to_nothing_never_makes_the_unknown_negative() -> None:
    for end in (-14.0, -3.0, -1.0):
        belief = LAW.believe(1.0, [(2.0, end)], LOGIT_90)
        assert belief.exposure_at_90 >= 0.1
        assert belief.late > 0.5, "it says that thresholds prune later"


# A run that follows the law is led to its target by it.


def leader(
    pruned: float, *, onset: int = 0, unknown: float = 0.7, first_decay: float | None = None
) -> Leader:
    clock = ThresholdClock(epochs=decay_clock(DIGITS_LIKE, 11, onset), onset=onset)
    lead = Lead(quantity="sparsity", pruned=pruned, exposure_at_90=unknown, delay=0.4)
    computed = clock.decay_for(unknown * LAW.relative_exposure(logit(pruned)), lead.delay)
    first = computed if first_decay is None else first_decay
    return Leader(lead=lead, law=LAW, clock=clock, first_decay=first)


@pytest.mark.usefixtures("by_hand")
def test_the_next_decay_by_hand() -> None:
    lead = Lead(quantity="sparsity", pruned=0.9, exposure_at_90=2.0, delay=0.5)
    clock = ThresholdClock(epochs=(10.0, 20.0, 30.0, 40.0), onset=0)
    led = Leader(lead=lead, law=LAW, clock=clock, first_decay=0.0625)
    # Half is left: the logit of 50 % is 0, its relative exposure 0.173189, so 0.9 says 5.196649.
    # That is believed by 0.173189^2 / (0.173189^2 + 0.1^2) = 0.749964 times 1/2^8; 0.995379 wanted.
    wanted = 0.995379 * 2.0 ** (1 - 0.002930) * 5.196649**0.002930
    assert led.decay_at(2, 0.9, 0.5) == pytest.approx((wanted - 0.9) / 20, rel=1e-5)
    # A run that has pruned too little to tell is expected to do as others did.
    assert led.decay_at(2, 0.9, 0.01) == pytest.approx((0.995379 * 2 - 0.9) / 20, rel=1e-5)
    assert led.decay_at(2, 2.1, 0.01) == 0, "what is too much is not taken back"
    assert led.decay_at(3, -0.5, 0.0) == 3 * 0.0625
    assert led.decay_at(4, 0.9, 0.4) == led.decay_at(0, -0.5, 0.0) == 0.0625


shares = st.floats(0.3, 0.995)


@given(shares, st.integers(0, 29), st.integers(0, 30), st.floats(-1, 6), st.floats(0, 1))
def test_decays_stay_between_nothing_and_the_highest(
    pruned: float, onset: int, epoch: int, exposure: float, now: float
) -> None:
    led = leader(pruned, onset=onset)
    decay = led.decay_at(epoch, exposure, now)
    assert 0 <= decay <= FITTED.highest * led.first_decay
    if epoch <= onset or epoch == 30:
        assert decay == led.first_decay


@given(shares, st.integers(0, 29), st.floats(-1, 6), st.floats(0, 1))
def test_the_target_is_in_reach_exactly_if_the_decay_is_at_no_limit(
    pruned: float, epoch: int, exposure: float, now: float
) -> None:
    led = leader(pruned)
    low, high = led.reach(epoch, exposure, now)
    assert 0 <= low <= high <= 1
    decay, most = led.decay_at(epoch, exposure, now), FITTED.highest * led.first_decay
    if epoch and 0 < decay < most:
        assert low - 1e-9 <= pruned <= high + 1e-9
    if epoch and decay == 0:
        assert pruned <= low + 1e-9 or low == now
    if epoch and decay == most:
        assert pruned >= high - 1e-9 or high == now
    assert low <= now <= high, "it can stay where it is"


def led_run(led: Leader, unknown: float) -> tuple[list[float], float]:
    """Lead a run that follows the law with its own unknown; return decays and final share."""
    decays: list[float] = []
    law, clock = led.law, led.clock
    for epoch in range(len(clock.epochs)):
        exposure = clock.exposure(decays, led.lead.delay)
        pruned = expit(law.level(exposure, unknown))
        decays.append(0.0 if epoch < clock.onset else led.decay_at(epoch, exposure, pruned))
    return decays, expit(law.level(clock.exposure(decays, led.lead.delay), unknown))


@given(shares, st.integers(0, 20))
def test_a_run_that_does_as_expected_keeps_its_first_decay(pruned: float, onset: int) -> None:
    led = leader(pruned, onset=onset)
    decays, end = led_run(led, unknown=0.7)
    assert decays == pytest.approx([0.0] * onset + [led.first_decay] * (30 - onset), rel=1e-6)
    assert end == pytest.approx(pruned, abs=1e-6)


@given(st.floats(0.75, 0.995), st.integers(0, 12), st.floats(0.8, 1.25))
def test_a_run_that_prunes_sooner_or_later_than_expected_is_led_back(
    pruned: float, onset: int, factor: float
) -> None:
    led = leader(pruned, onset=onset)
    _, end = led_run(led, unknown=0.7 * factor)
    relative = LAW.relative_exposure(logit(pruned)) / factor
    unled = expit(LAW.level(relative, 1.0))
    assert abs(end - pruned) <= 0.5 * abs(unled - pruned) + 1e-5

"""Targets become settings: by the law, computed by hand here, or exactly where they are given."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from benchmarks.planted import PlantedRuns
from hypothesis import given
from hypothesis import strategies as st
from planted_sweeps import (
    GMP,
    OWN_RANGE,
    PROBLEM,
    PUBLISHED,
    SHARED_LED,
    SHARED_RANGE,
    STEERED,
    STORED,
    begun,
    clock_by_hand,
    digits,
    ended,
    shared_start,
    state_of,
)
from samples import NINETY, NINETY_FIVE

from strsweep.config import Experiment
from strsweep.search.runs import Run, SearchState, Status
from strsweep.search.space import GivenSpace, LawSpace, onset_of, space_of
from strsweep.settings import Lead, RunSettings, Target
from strsweep.training.law import logit
from strsweep.training.leader import leader_of

BOX = ("search.led=false", "search.threshold_init=[-20, -6]", "search.threshold_decay=[0.01, 0.1]")
ONE_DECAY = "search.threshold_decay=0.03"


WHOLE, LATE = (
    math.fsum(clock_by_hand(epoch, onset) for epoch in range(onset + 1, 31)) for onset in (0, 10)
)
"""Accumulated learning rate of digits."""
EXPECTED = 0.70 * (WHOLE / 165) ** 0.58  # 69,904 weights are the reference's
LEVEL = math.log((1 - 0.25 * 0.0245) / (0.25 * 0.0245))  # sigmoid(-LEVEL): a quarter of the median
INIT = -float(f"{LEVEL * math.exp(0.6 * EXPECTED):.3g}")


def exposure_by_hand(sparsity: float, steepness: float) -> float:
    """Return the exposure at which the law expects ``sparsity``: it is a power, eased in."""
    power = math.exp((math.log(sparsity / (1 - sparsity)) - math.log(9)) / steepness)
    return EXPECTED * math.log(math.exp(4 * power) - 1) / 4


def law_space(*overrides: str) -> tuple[LawSpace, SearchState]:
    experiment = digits(*overrides)
    return LawSpace(experiment, PROBLEM), state_of(experiment)


def exposure_of(space: LawSpace, settings: RunSettings) -> float:
    """Return the exposure of a run that keeps its first decay."""
    assert settings.threshold_init is not None
    return settings.first_decay * space.clock.total - space.delay(settings.threshold_init)


def test_what_is_expected_before_any_run() -> None:
    space, _ = law_space()
    assert space.expected == pytest.approx(EXPECTED)
    assert space.pruning_level == pytest.approx(LEVEL)
    assert (space.onset, space.clock.total) == (10, pytest.approx(LATE))
    assert space.threshold_init == (INIT, INIT)
    assert space.delay(INIT) == pytest.approx(0.6 * EXPECTED, abs=1e-3)
    larger = LawSpace(digits(), PROBLEM.model_copy(update={"weights": 2 * 69_904}))
    assert larger.expected == pytest.approx(EXPECTED * 2**-0.46)


@pytest.mark.parametrize("sparsity", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_settings_of_a_led_run_by_hand(sparsity: float) -> None:
    space, state = law_space()
    delay = math.log(-INIT / LEVEL)
    settings = space.settings(Target(sparsity=sparsity), state)
    decay = (exposure_by_hand(sparsity, 1.7) + delay) / LATE
    lead = Lead(quantity="sparsity", pruned=sparsity, exposure_at_90=EXPECTED, delay=delay)
    expected = RunSettings(
        threshold_init=INIT, weight_decay=5e-4, threshold_decay=decay, onset=10, lead=lead
    )
    assert settings.numbers == pytest.approx(expected.numbers, rel=1e-5)
    assert settings.lead is not None
    assert settings.lead.model_dump() == {
        key: value if key == "quantity" else pytest.approx(value)
        for key, value in lead.model_dump().items()
    }
    assert (settings.fork, settings.is_dense, settings.last_epoch) == (None, False, None)


def test_a_shared_decay_moves_the_weights_too_and_acts_from_the_start() -> None:
    space, state = law_space(*SHARED_LED)
    settings = space.settings(NINETY_FIVE, state)
    needed = exposure_by_hand(0.95, 1.5) + math.log(-INIT / LEVEL)
    assert settings.weight_decay == pytest.approx(needed / WHOLE, rel=1e-5)
    assert (settings.threshold_decay, settings.onset, settings.fork) == (None, 0, None)
    assert settings.lead is not None


def test_without_a_lead_a_run_keeps_one_decay() -> None:
    led, state = law_space()
    kept, _ = law_space("search.led=false")
    one, other = (space.settings(NINETY, state) for space in (led, kept))
    assert other.lead is None
    assert other == one.model_copy(update={"lead": None})


@pytest.mark.parametrize(("macs", "pruned"), [(0.1, 0.9), (22_611.2, 0.95)])
def test_multiply_adds_are_led_to_by_their_own_share(macs: float, pruned: float) -> None:
    space, state = law_space()
    settings = space.settings(Target(macs=macs), state)
    lead = settings.lead
    assert lead is not None
    assert (lead.quantity, lead.pruned) == ("macs", pytest.approx(pruned))
    same = space.settings(Target(sparsity=pruned), state)
    assert settings.threshold_decay == pytest.approx(same.threshold_decay)
    # Runs that ended tell of both quantities: this one kept more multiply-adds than weights.
    run = ended(1, same, pruned)
    after = state_of(digits(), run)
    by_weights = space.settings(Target(sparsity=pruned), after).first_decay
    assert space.settings(Target(macs=macs), after).first_decay > 1.05 * by_weights


@pytest.mark.parametrize(
    ("overrides", "pruning_level"),
    [
        (("sparsity.function=exp",), -math.log(0.25 * 0.0245)),
        (("sparsity.scale=2",), math.log((2 - 0.25 * 0.0245) / (0.25 * 0.0245))),
    ],
)
def test_the_first_threshold_follows_the_threshold_function(
    overrides: tuple[str, ...], pruning_level: float
) -> None:
    space, _ = law_space(*overrides)
    assert space.pruning_level == pytest.approx(pruning_level)
    (first, _) = space.threshold_init
    assert first == pytest.approx(-pruning_level * math.exp(0.6 * EXPECTED), rel=5e-3)


def test_two_ranges_are_searched_along_their_diagonal() -> None:
    space, state = law_space(*BOX)
    assert space.limited_by == "threshold_decay"
    places: list[float] = []
    for sparsity in (0.8, 0.9, 0.95):
        settings = space.settings(Target(sparsity=sparsity), state)
        assert settings.threshold_init is not None
        places.append(math.log(-settings.threshold_init / 20) / math.log(6 / 20))
        along = math.log(settings.first_decay / 0.01) / math.log(10)
        assert along == pytest.approx(places[-1], abs=1e-3)
        expected = exposure_by_hand(sparsity, 1.7)
        assert exposure_of(space, settings) == pytest.approx(expected, abs=1e-3)
    assert 0 < places[0] < places[1] < places[2] < 1


@pytest.mark.parametrize(("target", "first", "decay"), [(1e-4, -20, 0.01), (1 - 1e-5, -6, 0.1)])
def test_beyond_the_ranges_a_run_is_at_their_end(target: float, first: float, decay: float) -> None:
    space, state = law_space(*BOX)
    settings = space.settings(Target(sparsity=target), state)
    assert (settings.threshold_init, settings.first_decay) == (first, pytest.approx(decay, 1e-3))
    shown = replace(state, runs=(ended(1, settings, 0.5),))
    assert space.settings(Target(sparsity=target), shown) == settings, "whatever it gave"


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ((), ""),
        (OWN_RANGE, "threshold_decay"),
        (SHARED_RANGE, "weight_decay"),
        (("search.led=false", "search.threshold_init=[-50, -6]", ONE_DECAY), "threshold_init"),
    ],
)
def test_the_range_that_limits_is_named(overrides: tuple[str, ...], name: str) -> None:
    assert law_space(*overrides)[0].limited_by == name


def test_a_run_forks_only_where_the_shared_start_is_stored() -> None:
    experiment = digits()
    space = LawSpace(experiment, PROBLEM)
    start = shared_start(experiment)
    for run, fork in [
        (begun(replace(start, prefix=None), 9), None),
        (start, STORED),
        (begun(start, 12), STORED),  # the whole dense network, under way
        (begun(start, 12, status=Status.FAILED), STORED),  # its start is there all the same
    ]:
        assert space.settings(NINETY, state_of(experiment, run)).fork == fork
    whole = LawSpace(digits(*SHARED_LED), PROBLEM)
    assert whole.settings(NINETY, state_of(experiment, start)).fork is None


def test_the_dense_network_can_be_forked_from() -> None:
    space, _ = law_space()
    start = space.dense(is_whole=False)
    assert start == RunSettings(
        threshold_init=INIT, weight_decay=5e-4, onset=10, is_dense=True, last_epoch=10
    )
    assert space.dense(is_whole=True) == start.model_copy(update={"last_epoch": None})
    assert start.shared_epoch == 10


@pytest.mark.parametrize(
    ("overrides", "steps", "onset"),
    [
        ((), 11, 10),
        (("training.epochs=24",), 11, 8),
        (("training.epochs=17",), 11, 0),  # 121 steps would be left
        (("training.epochs=1",), 11, 0),
        (("training.epochs=2",), 124, 0),
        (("training.epochs=2",), 125, 1),
        (("search.share_prefix=false",), 11, 0),
        (SHARED_LED, 11, 0),
        (("model.checkpoint=/tmp/trained.pt",), 11, 0),
        (STEERED, 11, 0),
    ],
)
def test_thresholds_act_after_a_third_of_the_epochs(
    overrides: tuple[str, ...], steps: int, onset: int
) -> None:
    problem = PROBLEM.model_copy(update={"steps_per_epoch": steps})
    assert onset_of(digits(*overrides), problem) == onset


def planted(experiment: Experiment, settings: RunSettings, **law: Any) -> Run:
    """Return the finished run with ``settings``, as a planted law has it."""
    runs = PlantedRuns(experiment=experiment, problem=PROBLEM, **law)
    trained = runs.train(settings)
    clock = LawSpace(experiment, PROBLEM).clock
    decayed = sum(
        row.threshold_decay * clock.of_epoch(e) for e, row in enumerate(trained.epochs, 1)
    )
    return replace(ended(1, settings, trained.last.sparsity), decayed=decayed)


@pytest.mark.parametrize(("hardness", "late"), [(0.6, 0.0), (1.5, 0.0), (1.0, 0.3), (1.3, -0.2)])
def test_two_runs_tell_both_unknowns(hardness: float, late: float) -> None:
    experiment = digits("search.led=false")
    space = LawSpace(experiment, PROBLEM)
    known: list[Run] = []
    for share in (0.8, 0.98):
        settings = space.settings(Target(sparsity=share), state_of(experiment))
        known.append(planted(experiment, settings, hardness=hardness, late=late))
    settings = space.settings(NINETY, state_of(experiment, *known))
    expected = EXPECTED * (hardness + late)
    assert exposure_of(space, settings) == pytest.approx(expected, rel=0.05)


ends = st.floats(1e-6, 0.999)
shares = st.floats(0.75, 0.99)


@given(end=ends, at=st.floats(0.3, 0.99), target=shares)
def test_after_a_run_that_fell_short_the_next_one_prunes_more(
    end: float, at: float, target: float
) -> None:
    experiment = digits("search.led=false")
    space, wanted = LawSpace(experiment, PROBLEM), Target(sparsity=target)
    settings = space.settings(Target(sparsity=at), state_of(experiment))
    following = space.settings(wanted, state_of(experiment, ended(1, settings, end)))
    apart = logit(target) - logit(end)
    if apart > 0.3:
        assert following.first_decay > settings.first_decay
    if apart < -0.3:
        assert following.first_decay < settings.first_decay


collapsed = st.tuples(shares, st.floats(0.9, 0.999), st.floats(0.1, 1e4))


@given(runs=st.lists(collapsed, min_size=1, max_size=6), target=shares)
def test_no_run_begins_harder_than_one_that_ended_above_its_target(
    runs: list[tuple[float, float, float]], target: float
) -> None:
    """Whatever a network does that collapses: here runs end anywhere, by any decay."""
    space, state = law_space()
    asked = [space.settings(Target(sparsity=aim), state) for aim, _, _ in runs]
    known = [
        replace(ended(number, settings, end), decayed=decayed)
        for number, (settings, (_, end, decayed)) in enumerate(zip(asked, runs, strict=True), 1)
    ]
    settings = space.settings(Target(sparsity=target), state_of(digits(), *known))
    assert settings.lead is not None
    level = logit(target)
    above = [run.settings.first_decay for run in known if logit(run.sparsity) > level]
    assert settings.first_decay <= min(above, default=math.inf) * (1 + 1e-5)


@pytest.mark.parametrize(("sparsity", "change"), [(0.05, 1), (0.97, -1)])
def test_a_run_that_was_stopped_tells_of_the_next_one(sparsity: float, change: int) -> None:
    experiment = digits()
    space = LawSpace(experiment, PROBLEM)
    first = space.settings(NINETY, state_of(experiment))
    half = replace(
        ended(1, first, sparsity),
        status=Status.STOPPED,
        epoch=20,
        decayed=first.first_decay * space.clock.epochs[19],
    )
    after = space.settings(NINETY, state_of(experiment, half))
    assert (after.first_decay - first.first_decay) * change > 0.02 * first.first_decay
    as_ended = replace(half, status=Status.FINISHED)
    assert after.first_decay == space.settings(NINETY, state_of(experiment, as_ended)).first_decay


@pytest.mark.parametrize(
    ("ends", "beyond"),
    [
        ([], 0.0),
        ([0.85], 0.0),  # the first miss corrects the law
        ([0.85, 0.86], logit(0.9) - logit(0.86)),
        ([0.85, 0.86, 0.87], 2 * logit(0.9) - logit(0.86) - logit(0.87)),
        ([0.85, 0.5], 1.0),  # no farther
        ([0.99, 0.995], -1.0),
    ],
)
def test_what_led_runs_miss_again_the_next_one_aims_beyond(
    ends: list[float], beyond: float
) -> None:
    led, kept = law_space()[0], law_space("search.led=false")[0]
    settings = led.settings(NINETY, state_of(digits()))
    runs = [ended(n, settings, end, target=NINETY) for n, end in enumerate(ends)]
    elsewhere = [ended(n, settings, 0.97, target=NINETY_FIVE) for n in (8, 9)]
    following = led.settings(NINETY, state_of(digits(), *elsewhere, *runs))
    assert following.lead is not None
    assert logit(following.lead.pruned) == pytest.approx(logit(0.9) + beyond)
    steady = [replace(run, target=None) for run in runs]
    states = [state_of(digits(), *elsewhere, *known) for known in (runs, steady)]
    one, other = (kept.settings(NINETY, state) for state in states)
    assert one == other, "without a lead it is the law alone that is corrected"


@pytest.mark.parametrize("decay", [2.0**-6, 0.0])
def test_a_decay_that_is_a_number_is_taken_to_its_last_digit(decay: float) -> None:
    asked = ("search.threshold_init=[-100, -0.001]", f"search.weight_decay={decay}")
    experiment = digits("search.decay=shared", "search.led=false", *asked)
    space, runs = LawSpace(experiment, PROBLEM), list[Run]()
    for number, share in enumerate((0.5, 0.9, 0.98), start=1):
        settings = space.settings(Target(sparsity=share), state_of(experiment, *runs))
        runs.append(begun(ended(number, settings, 0.0)))
    assert [run.settings.weight_decay for run in runs] == [decay] * 3
    inits = [run.settings.threshold_init for run in runs]
    assert all(first is not None for first in inits)
    assert len(set(inits)) == 3


def test_the_nearest_finished_run_by_hand() -> None:
    space, state = law_space()
    middle = (math.log(9) + math.log(19)) / 2  # of 80, 90, 95 and 98 %
    assert space.distance(NINETY, state) == pytest.approx(middle - math.log(9))
    settings = space.settings(NINETY, state)
    runs = [ended(1, settings, 0.8), ended(2, settings, 0.95), begun(ended(3, settings, 0.9), 20)]
    known = state_of(digits(), *runs)
    assert space.distance(NINETY, known) == pytest.approx(math.log(19) - math.log(9))
    # Multiply-adds end half a unit of logit behind.
    assert space.distance(Target(macs=0.1), known) == pytest.approx(
        math.log(19) - 0.5 - math.log(9)
    )


NEAR = ("search.threshold_init=-5.2",)


@pytest.mark.parametrize("overrides", [(), SHARED_LED, PUBLISHED, OWN_RANGE, NEAR])
def test_variants_prune_as_much_with_thresholds_that_begin_elsewhere(
    overrides: tuple[str, ...],
) -> None:
    auto = ("search.weight_decay=auto",) if overrides == PUBLISHED else ()
    space, state = law_space(*overrides, *auto)
    first = space.settings(NINETY, state)
    assert first.threshold_init is not None
    variants = space.variants(NINETY, state)
    inits = [variant.threshold_init for variant in variants]
    lowest = 1.01 * LEVEL  # above, they prune from the start
    assert inits == pytest.approx([
        min(first.threshold_init * factor, -lowest) for factor in (2, 0.7, 4, 1.4, 8, 16)
    ])
    wanted = exposure_by_hand(0.9, 1.7 if first.threshold_decay else 1.5)
    assert [exposure_of(space, variant) for variant in variants] == pytest.approx(
        [wanted] * 6, abs=1e-3
    )


def test_a_led_run_can_reach_what_its_leader_says() -> None:
    experiment = digits()
    space = LawSpace(experiment, PROBLEM)
    settings = space.settings(NINETY, state_of(experiment))
    assert settings.lead is not None
    run = begun(ended(1, settings, 0.6), 18, decayed=1.0)
    leader = leader_of(space.law, settings.lead, space.clock, settings.first_decay)
    low, high = space.reach(run, "sparsity")
    assert (low, high) == leader.reach(18, 1.0 - settings.lead.delay, 0.6)
    assert 0 < low < high < 1
    assert space.reach(run, "macs") == (0, 1)
    kept = replace(run, settings=settings.model_copy(update={"lead": None}))
    assert space.reach(kept, "sparsity") == (0, 1)


@pytest.mark.parametrize("overrides", [STEERED, GMP])
def test_where_targets_are_given_so_are_the_settings(overrides: tuple[str, ...]) -> None:
    experiment = digits(*overrides, "search.targets=[0.95, {macs: 0.25}, {macs: 45222.4}]")
    space, state = space_of(experiment, PROBLEM), state_of(experiment)
    assert isinstance(space, GivenSpace)
    one, two, three = (space.settings(target, state) for target in state.goal.targets)
    assert one == RunSettings(weight_decay=1e-4, sparsity=0.95)
    assert two == RunSettings(weight_decay=1e-4, macs=0.25)
    assert three.numbers == {"weight_decay": 1e-4, "macs": pytest.approx(0.1)}
    assert space.dense(is_whole=True) == RunSettings(weight_decay=1e-4, is_dense=True)
    run = ended(1, one, 0.5)
    assert (space.onset, space.retries, space.limited_by) == (0, False, "")
    assert space.reach(run, "sparsity") == (0, 1)
    assert list(space.variants(NINETY, state)) == []
    assert isinstance(space_of(digits(), PROBLEM), LawSpace)

"""Which run comes next, and which one ends early: decisions by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planted_sweeps import (
    GMP,
    OWN_RANGE,
    PROBLEM,
    SHARED_RANGE,
    STEERED,
    STORED,
    begun,
    digits,
    ended,
    shared_start,
    sparsities,
    state_of,
)

from strsweep.config import Experiment
from strsweep.search.decide import (
    DONE,
    MOST_TRIES,
    Action,
    Begin,
    Finish,
    Wait,
    next_action,
    should_stop,
)
from strsweep.search.runs import Run, Status
from strsweep.search.space import LawSpace, space_of
from strsweep.settings import RunSettings, Target

THREE = ("search.targets=[0.5, 0.9, 0.99]",)
HALF, NINETY, NINETY_NINE = sparsities(0.5, 0.9, 0.99)
NINETY_FIVE = Target(sparsity=0.95)
SAME = Finish("the targets left would have the same runs again")
FAILED, PAUSED, STOPPED = Status.FAILED, Status.PAUSED, Status.STOPPED


def decided(experiment: Experiment, *runs: Run, epochs: int = 0) -> Action:
    return next_action(state_of(experiment, *runs, epochs=epochs), space_of(experiment, PROBLEM))


def trained(action: Action) -> Begin:
    assert isinstance(action, Begin)
    return action


def aimed(
    experiment: Experiment, target: Target, sparsity: float | None = None, number: int = 2
) -> Run:
    """Return the finished run that a sweep began with for ``target``; it hit it unless said."""
    state = state_of(experiment)
    settings = space_of(experiment, PROBLEM).settings(target, state)
    end = state.goal.pruned(target) if sparsity is None else sparsity
    return ended(number, settings, end, target=target)


def lost(run: Run, *, by_machine: bool) -> Run:
    return replace(run, status=FAILED, epoch=3, is_repeatable=by_machine)


# The start that runs share.


def test_the_shared_start_comes_first_and_is_waited_for() -> None:
    experiment = digits(*THREE)
    start = shared_start(experiment)
    assert decided(experiment) == Begin(
        settings=start.settings, target=None, reason="the epochs before thresholds act"
    )
    for status in (Status.RUNNING, PAUSED):
        assert decided(experiment, replace(begun(start, 4, status=status), prefix=None)) == Wait()
    first = trained(decided(experiment, start))
    assert first.target == NINETY
    assert first.settings.fork == STORED
    assert first.settings.onset == 10


@pytest.mark.parametrize("by_machine", [True, False])
def test_a_shared_start_that_failed_is_trained_again(by_machine: bool) -> None:
    experiment = digits(*THREE)
    start = shared_start(experiment)
    failed = replace(lost(start, by_machine=by_machine), prefix=None)
    assert trained(decided(experiment, failed)).settings == start.settings


@pytest.mark.parametrize("overrides", [SHARED_RANGE, (*OWN_RANGE, "search.share_prefix=false")])
def test_without_a_shared_start_targets_come_first(overrides: tuple[str, ...]) -> None:
    first = trained(decided(digits(*THREE, *overrides)))
    assert first.target == NINETY
    assert (first.settings.fork, first.settings.onset) == (None, 0)


# The dense network.

BASELINE = (*THREE, "search.baseline=true")


def test_the_baseline_is_the_shared_start() -> None:
    experiment = digits(*BASELINE)
    whole = shared_start(experiment, is_whole=True)
    assert decided(experiment) == Begin(
        settings=whole.settings, target=None, reason="the dense network"
    )
    assert whole.settings.last_epoch is None
    assert decided(experiment, replace(begun(whole, 9), prefix=None)) == Wait()
    # Past the start it trains on by itself: others fork meanwhile.
    assert trained(decided(experiment, begun(whole, 10))).settings.fork == STORED
    assert trained(decided(experiment, whole)).target == NINETY


def test_a_baseline_forks_a_start_that_was_trained_without_it() -> None:
    experiment = digits(*BASELINE)
    start = shared_start(experiment)
    baseline = trained(decided(experiment, start))
    assert (baseline.target, baseline.reason) == (None, "the dense network")
    assert (baseline.settings.is_dense, baseline.settings.last_epoch) == (True, None)
    assert baseline.settings.fork == STORED
    second = begun(ended(2, baseline.settings, 0.0), 12)
    assert trained(decided(experiment, start, second)).target == NINETY
    again = trained(decided(experiment, start, lost(second, by_machine=True)))
    assert again.settings == baseline.settings
    assert trained(decided(experiment, start, lost(second, by_machine=False))).target == NINETY


@pytest.mark.parametrize("by_machine", [True, False])
def test_what_a_failed_baseline_left_is_forked_from(by_machine: bool) -> None:
    experiment = digits(*BASELINE)
    failed = replace(lost(shared_start(experiment, is_whole=True), by_machine=by_machine), epoch=20)
    following = trained(decided(experiment, failed))
    assert following.settings.fork == STORED
    assert following.settings.is_dense is by_machine


@pytest.mark.parametrize("overrides", [STEERED, GMP, ("search.share_prefix=false",)])
def test_a_baseline_that_shares_nothing_is_not_waited_for(overrides: tuple[str, ...]) -> None:
    experiment = digits(*BASELINE, *overrides)
    baseline = trained(decided(experiment))
    assert baseline.settings.is_dense
    assert baseline.settings.fork is None
    run = ended(1, baseline.settings, 0.0)
    for known in (begun(run, 2), run, lost(run, by_machine=False)):
        assert trained(decided(experiment, known)).target is not None
    again = trained(decided(experiment, lost(run, by_machine=True)))
    assert again.settings == baseline.settings


# Which target.


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ({}, NINETY),  # the middle one
        ({NINETY: 0.9}, HALF),  # in logit 2.2 from the known end; 99 % are 2.4
        ({NINETY: 0.95}, NINETY),  # missed: 0.7 from it, 99 % are 1.7
        ({NINETY: 0.98}, NINETY_NINE),  # 0.7 from it
        ({NINETY: 0.9, HALF: 0.5}, NINETY_NINE),
        ({NINETY: 0.99}, NINETY),  # it serves another target
    ],
)
def test_the_nearest_to_what_is_known_comes_first(
    ends: dict[Target, float], expected: Target
) -> None:
    experiment = digits(*THREE)
    runs = [aimed(experiment, target, end) for target, end in ends.items()]
    following = trained(decided(experiment, shared_start(experiment), *runs))
    assert following.target == expected
    count = len(runs)
    known = f"by {count} finished run{'s' if count > 1 else ''}" if count else "by the law alone"
    assert following.reason == known


def test_a_target_is_aimed_at_by_one_run_at_a_time() -> None:
    experiment = digits(*THREE)
    runs, order = [shared_start(experiment)], list[Target | None]()
    while isinstance(action := decided(experiment, *runs), Begin):
        order.append(action.target)
        runs.append(begun(ended(len(runs) + 1, action.settings, 0.0, target=action.target)))
    assert order[0] == NINETY
    assert set(order) == {HALF, NINETY, NINETY_NINE}
    assert len(order) == 3
    assert action == Wait()
    paused = [replace(run, status=PAUSED) for run in runs[1:]]
    assert decided(experiment, runs[0], *paused) == Wait()


def test_multiply_adds_and_sparsities_are_each_measured_by_their_own() -> None:
    experiment = digits("search.targets=[0.9, {macs: 0.1}, {macs: 0.3}]")
    start = shared_start(experiment)
    # It hits 90 % and keeps 15 % of the multiply-adds: 1.7 in logit, nearer to 10 % kept than 30 %.
    run = aimed(experiment, NINETY)
    assert run.macs_pruned == pytest.approx(0.845, abs=0.001)
    following = trained(decided(experiment, start, run))
    assert following.target == Target(macs=0.1)
    assert following.settings.lead is not None
    assert following.settings.lead.quantity == "macs"
    both = replace(run, macs_pruned=0.9)
    assert trained(decided(experiment, start, both)).target == Target(macs=0.3)


def test_a_target_whose_run_failed_waits_until_others_were_tried() -> None:
    experiment = digits(*THREE)
    failed = lost(aimed(experiment, NINETY), by_machine=True)
    following = trained(decided(experiment, shared_start(experiment), failed))
    assert following.target != NINETY


# Retries and ends.


def missed(experiment: Experiment, count: int, status: Status = Status.FINISHED) -> list[Run]:
    """Return runs that aimed at 90 %, no two of the same settings."""
    first = aimed(experiment, NINETY, 0.8)
    decays = [first.settings.first_decay * (1 + number / 100) for number in range(1, count + 1)]
    return [
        replace(ended(number, with_decay(first.settings, decay), 0.8, target=NINETY), status=status)
        for number, decay in enumerate(decays, start=2)
    ]


def with_decay(settings: RunSettings, decay: float) -> RunSettings:
    return settings.model_copy(update={"threshold_decay": decay})


def test_a_run_that_failed_by_its_settings_is_not_repeated() -> None:
    experiment = digits("search.targets=[0.9]")
    start = shared_start(experiment)
    first = ended(2, trained(decided(experiment, start)).settings, 0.8, target=NINETY)
    assert decided(experiment, start, lost(first, by_machine=False)) == SAME
    again = trained(decided(experiment, start, lost(first, by_machine=True)))
    assert again.settings == first.settings


@pytest.mark.parametrize("status", [Status.FINISHED, STOPPED, FAILED])
def test_a_target_is_tried_eight_times(status: Status) -> None:
    experiment = digits("search.targets=[0.9]")
    start, tries = shared_start(experiment), missed(experiment, MOST_TRIES, status)
    assert trained(decided(experiment, start, *tries[1:])).target == NINETY
    assert decided(experiment, start, *tries) == Finish(
        "the targets left were missed by 8 runs each"
    )
    running = begun(tries[0])
    assert decided(experiment, start, running, *tries[1:]) == Wait()
    machine = lost(tries[0], by_machine=True)
    assert trained(decided(experiment, start, machine, *tries[1:])).target == NINETY


def test_other_targets_go_on_where_one_is_given_up() -> None:
    experiment = digits(*THREE)
    tries = missed(experiment, MOST_TRIES)
    following = trained(decided(experiment, shared_start(experiment), *tries))
    assert following.target == HALF


def test_when_every_target_is_hit_the_search_ends() -> None:
    experiment = digits(*THREE)
    start = shared_start(experiment)
    hits = [aimed(experiment, target) for target in (HALF, NINETY, NINETY_NINE)]
    assert decided(experiment, start, *hits) == Finish(DONE)
    assert decided(experiment, start, *hits, begun(hits[0])) == Wait()


@pytest.mark.parametrize(
    ("limit", "epochs", "expected"),
    [
        ("search.max_runs=2", 30, Finish("search.max_runs (2) is spent")),
        ("search.max_runs=3", 30, None),
        # The next run forks: it needs 20 epochs.
        ("search.max_epochs=50", 30, None),
        (
            "search.max_epochs=50",
            31,
            Finish("search.max_epochs (50) leaves no room for another run"),
        ),
    ],
)
def test_limits_end_the_search_once_nothing_runs(
    limit: str, epochs: int, expected: Finish | None
) -> None:
    experiment = digits(*THREE, limit)
    runs = [shared_start(experiment), aimed(experiment, NINETY)]
    action = decided(experiment, *runs, epochs=epochs)
    if expected is None:
        assert trained(action).target == HALF
        return
    assert action == expected
    running = begun(runs[1], 30)  # its last epoch: nothing more is promised
    assert decided(experiment, runs[0], running, epochs=epochs) == Wait()


def test_epochs_that_forks_under_way_need_are_kept_for_them() -> None:
    start = shared_start(digits(*THREE))
    for max_epochs, is_begun in ((50, True), (49, False)):
        experiment = digits(*THREE, f"search.max_epochs={max_epochs}")
        forked = trained(decided(experiment, start, epochs=10)).settings
        running = begun(ended(2, forked, 0.0, target=NINETY))  # of 20 epochs, none is done
        action = decided(experiment, start, running, epochs=10)
        assert isinstance(action, Begin) is is_begun
        assert is_begun or action == Wait()


# Methods that are given their target.


@pytest.mark.parametrize("overrides", [STEERED, GMP])
def test_a_given_target_has_one_run(overrides: tuple[str, ...]) -> None:
    experiment = digits("search.targets=[0.95, 0.8, {macs: 0.5}]", *overrides)
    targets = (*sparsities(0.95, 0.8), Target(macs=0.5))
    runs: list[Run] = []
    for number, target in enumerate(targets, start=1):
        action = trained(decided(experiment, *runs))
        assert (action.target, action.reason) == (target, "the method is given its target")
        runs.append(begun(ended(number, action.settings, 0.0, target=target)))
    assert decided(experiment, *runs) == Wait()
    hits = [replace(aimed(experiment, t), macs_pruned=0.5) for t in targets]
    assert decided(experiment, *hits) == Finish(DONE)
    # A run that ended elsewhere, say in a small layer, or diverged, would do so again.
    far = aimed(experiment, targets[0], 0.7)
    for run in (far, lost(hits[0], by_machine=False)):
        assert decided(experiment, run, *hits[1:]) == SAME
    broken = lost(hits[0], by_machine=True)
    assert trained(decided(experiment, broken, *hits[1:])).target == targets[0]


# Out of reach.


@pytest.mark.parametrize("overrides", [OWN_RANGE, SHARED_RANGE])
@pytest.mark.parametrize("sign", [1, -1])
def test_targets_beyond_a_run_at_the_end_of_the_range_end_the_search(
    overrides: tuple[str, ...], sign: int
) -> None:
    targets = (0.999, 0.9995) if sign > 0 else (1e-3, 2e-3)
    experiment = digits(*overrides, f"search.targets={list(targets)}")
    known = [shared_start(experiment)] if experiment.shares_prefix else []
    first = trained(decided(experiment, *known))
    assert first.settings.first_decay == (2.4e-2 if sign > 0 else 4e-3)
    run = ended(2, first.settings, 0.97 if sign > 0 else 0.4, target=first.target)
    assert decided(experiment, *known, begun(run, 12)) == Wait(), "another would be the same"
    assert decided(experiment, *known, run) == SAME
    failed = lost(run, by_machine=True)
    assert trained(decided(experiment, *known, failed)).settings == first.settings


# More accuracy.


def test_refining_starts_when_every_target_is_hit_and_targets_take_turns() -> None:
    experiment = digits("search.targets=[0.9, 0.95]", "search.refine=5")
    runs = [shared_start(experiment), aimed(experiment, NINETY, number=2)]
    assert trained(decided(experiment, *runs)).refines is None
    runs.append(aimed(experiment, NINETY_FIVE, number=3))
    tried: list[tuple[Target | None, float | None]] = []
    for number in range(4, 9):
        action = trained(decided(experiment, *runs))
        assert action.target is None
        assert action.reason == f"a better score at {action.refines}"
        assert action.settings.fork == STORED
        tried.append((action.refines, action.settings.threshold_init))
        run = ended(number, action.settings, 0.9, refines=action.refines)
        runs.append(lost(run, by_machine=False) if number == 5 else run)  # it had its turn
    assert [target for target, _ in tried] == [NINETY, NINETY_FIVE, NINETY, NINETY_FIVE, NINETY]
    inits = [init for target, init in tried if target == NINETY]
    first = runs[1].settings.threshold_init
    assert first is not None
    assert inits == pytest.approx([2 * first, 0.7 * first, 4 * first])
    assert decided(experiment, *runs) == Finish(DONE)
    assert decided(experiment, *runs[:-1], begun(runs[-1])) == Wait()


def test_refining_keeps_to_the_limits_and_ends_where_nothing_is_left() -> None:
    asked = ("search.targets=[0.9]", "search.refine=20")
    experiment = digits(*asked, "search.max_runs=2")
    known = [shared_start(experiment), aimed(experiment, NINETY)]
    assert decided(experiment, *known) == Finish(f"{DONE}; search.max_runs (2) is spent")
    experiment, count = digits(*asked), 0
    while isinstance(action := decided(experiment, *known), Begin):
        count += 1
        known.append(ended(count + 2, action.settings, 0.9, refines=action.refines))
    assert action == Finish(f"{DONE}; no other threshold init is left to try")
    assert count == 6
    given = digits(*STEERED, "search.targets=[0.9]", "search.refine=2")
    ending = decided(given, aimed(given, NINETY))
    assert ending == Finish(f"{DONE}; no other threshold init is left to try")


# Which run ends early.


def half_way(
    experiment: Experiment, target: Target, sparsity: float, epoch: int = 20, decay: float = 1.0
) -> Run:
    """Return a run for ``target`` that had ``decay`` times its first decay until now."""
    run = aimed(experiment, target)
    clock = LawSpace(experiment, PROBLEM).clock
    decayed = decay * run.settings.first_decay * clock.epochs[epoch - 1]
    return begun(run, epoch, sparsity=sparsity, decayed=decayed)


def stops(experiment: Experiment, run: Run, *others: Run) -> str | None:
    return should_stop(state_of(experiment, *others, run), space_of(experiment, PROBLEM), run)


@pytest.mark.parametrize(("sparsity", "epoch", "most"), [(0.4, 26, 0.73), (0.6, 28, 0.65)])
def test_a_run_that_cannot_come_to_a_target_is_stopped_with_the_reason(
    sparsity: float, epoch: int, most: float
) -> None:
    experiment = digits("search.targets=[0.9, 0.95]")
    run = half_way(experiment, NINETY, sparsity, epoch)
    low, high = LawSpace(experiment, PROBLEM).reach(run, "sparsity")
    assert sparsity == pytest.approx(low)
    assert low < high < most
    assert stops(experiment, run) == (
        f"would end between {low:.2%} and {high:.2%}, where no target is open"
    )


@pytest.mark.parametrize(
    ("sparsity", "epoch"),
    [
        (0.9, 25),  # on its way
        (0.95, 25),  # to another target
        (0.2, 20),  # it can catch up
        (0.99, 25),  # what is too much comes back
    ],
)
def test_a_run_that_may_hit_a_target_goes_on(sparsity: float, epoch: int) -> None:
    experiment = digits("search.targets=[0.9, 0.95]")
    assert stops(experiment, half_way(experiment, NINETY, sparsity, epoch)) is None


def test_what_is_said_of_an_end_has_a_margin() -> None:
    experiment = digits("search.targets=[0.9]")
    run, state = half_way(experiment, NINETY, 0.85, 26), state_of(experiment)
    _, high = LawSpace(experiment, PROBLEM).reach(run, "sparsity")
    assert high < state.goal.window(NINETY).low
    assert stops(experiment, run) is None


def test_a_run_that_serves_nobody_is_stopped_at_once() -> None:
    experiment = digits("search.targets=[0.9]")
    early = half_way(experiment, NINETY, 0.1, epoch=11)
    assert stops(experiment, early) is None
    assert stops(experiment, early, aimed(experiment, NINETY)) == DONE
    for overrides in (STEERED, SHARED_RANGE):
        given = digits("search.targets=[0.9]", *overrides)
        run = begun(aimed(given, NINETY, 0.2), 25)
        assert stops(given, run) is None
        assert stops(given, run, aimed(given, NINETY)) == DONE


def test_what_is_no_run_for_a_target_is_left_alone() -> None:
    experiment = digits("search.targets=[0.9]", "search.refine=3")
    hit = aimed(experiment, NINETY)
    refining = replace(half_way(experiment, NINETY, 0.99, 25), target=None, refines=NINETY)
    assert stops(experiment, refining, hit) is None
    dense = begun(shared_start(experiment, is_whole=True), 25)
    assert stops(experiment, dense, hit) is None


def test_multiply_adds_are_judged_by_themselves() -> None:
    experiment = digits("search.targets=[{macs: 0.1}]")
    lean = half_way(experiment, Target(macs=0.1), 0.93, epoch=28)
    on_its_way = replace(lean, macs_pruned=0.9)
    assert stops(experiment, on_its_way) is None
    assert stops(experiment, replace(lean, macs_pruned=0.6)) is not None
    # A run that leads itself by weights may do anything to multiply-adds.
    other = digits("search.targets=[{macs: 0.1}, 0.5]")
    assert stops(other, half_way(other, HALF, 0.99, 25)) is None

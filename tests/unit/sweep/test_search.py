"""The search hits its targets on simulated sweeps, in few runs, and knows when to stop."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from search_simulation import DIGITS as EXAMPLE
from search_simulation import (
    LEVEL,
    PATH,
    PROBLEM,
    TARGETS,
    Noisy,
    Simulated,
    a_goal,
    finished_run,
    smooth,
    sparsities,
    unfinished_run,
)

from strsweep.bench.search_ours import OneByOne
from strsweep.bench.search_problems import PROBLEMS
from strsweep.bench.search_replay import ReplayedRuns, read_recorded
from strsweep.config import Target
from strsweep.sweep.curve import expit, logit
from strsweep.sweep.search import decide, out_of_reach
from strsweep.sweep.state import (
    Decision,
    FailedRun,
    Finish,
    FinishedRun,
    Goal,
    Propose,
    Resume,
    Spent,
    UnfinishedRun,
    Wait,
)
from strsweep.training.schedule import decay_clock

DIGITS = Path(__file__).with_name("digits_curve.csv")
RECORDED = Path(__file__).parents[1] / "bench/search_recorded.jsonl"
EVERY = Finish("every target is hit")
BEYOND = Finish("the targets left are out of reach of the ranges")
NINETY, NINETY_FIVE = sparsities(0.9, 0.95)


def decided(
    finished: list[FinishedRun],
    unfinished: list[UnfinishedRun],
    goal: Goal | None = None,
    spent: Spent | None = None,
) -> Decision:
    known = spent or Spent(runs=len(finished) + len(unfinished))
    return decide(goal or a_goal(), PATH, finished, unfinished, spent=known)


@pytest.mark.parametrize("bend", [0.0, 0.5, -0.5])
@pytest.mark.parametrize(("low", "high"), [(1, 4.5), (-1, 5), (-3, 7), (1.2, 4)])
def test_smooth_curve_takes_few_runs(low: float, high: float, bend: float) -> None:
    sweep = Simulated(smooth(low, high, bend))
    assert sweep.search() == EVERY
    assert sweep.missed == []
    # The steeper the curve, the narrower the place of a target on it.
    assert len(sweep.proposed) <= (14 if high - low < 7 else 20)


def test_recorded_digits_curve_takes_few_runs() -> None:
    with DIGITS.open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    decay = np.log([row["weight_decay"] for row in rows])
    level = [logit(row["sparsity"]) for row in rows]
    assert len(rows) == 60
    assert (np.diff(decay) > 0).all()
    low, high = math.log(4e-3), math.log(2.4e-2)
    sweep = Simulated(lambda p: expit(float(np.interp(low + p * (high - low), decay, level))))
    assert sweep.search() == EVERY
    assert len(sweep.proposed) <= 8


@pytest.mark.parametrize(("problem", "seed"), [("digits", 0), ("digits", 1), ("digits-deep", 0)])
def test_recorded_sweeps_of_five_targets_hit_them_all(problem: str, seed: int) -> None:
    runs = read_recorded(RECORDED)[problem, seed]
    experiment = PROBLEMS[problem].experiment(EXAMPLE, seed)
    sweep = OneByOne(
        experiment, PROBLEM, ReplayedRuns(runs, decay_clock(experiment.training, steps_per_epoch=1))
    )
    sweep.search()
    assert [delivery.is_hit for delivery in sweep.deliveries()] == [True] * 5
    full_runs = sweep.epochs / experiment.training.epochs
    assert full_runs <= (9 if problem == "digits" else 13)


def test_the_first_run_goes_where_the_clock_expects_a_target() -> None:
    first = decided([], [])
    assert isinstance(first, Propose)
    assert first.target in TARGETS
    assert first.reason.endswith("expected from the decay clock")
    # Among the targets, which decay gives 80 to 98 % on the recorded curve: 7e-3 to 1.7e-2.
    assert 7e-3 < PATH.at(first.position).weight_decay < 1.7e-2


def test_first_runs_keep_apart_and_aim_at_different_targets() -> None:
    running: list[UnfinishedRun] = []
    for number in range(4):
        proposed = decided([], running)
        assert isinstance(proposed, Propose)
        running.append(unfinished_run(proposed.position, proposed.target, number))
    assert {run.target for run in running} == set(TARGETS)
    places = sorted(run.position for run in running)
    assert min(np.diff(places)) > 0.04
    assert decided([], running) == Wait()


def test_search_waits_when_every_target_is_aimed_at() -> None:
    finished = [finished_run(0.25, 0.5), finished_run(0.75, 0.99, 2)]
    goal = a_goal([NINETY])
    first = decided(finished, [], goal)
    assert isinstance(first, Propose)
    assert first.target == NINETY
    assert decided(finished, [unfinished_run(first.position, NINETY)], goal) == Wait()


def test_aim_is_where_the_curve_has_the_target() -> None:
    finished = [finished_run(p, LEVEL(p), n) for n, p in enumerate((0.2, 0.4, 0.6, 0.8))]
    proposed = decided(finished, [], a_goal(sparsities(LEVEL(0.5))))
    assert isinstance(proposed, Propose)
    assert proposed.position == pytest.approx(0.5, abs=0.02)
    assert proposed.reason.endswith("expected from 4 runs")


def test_search_ends_when_every_target_is_hit_and_nothing_runs() -> None:
    finished = [
        finished_run(0.1 * index, target.sparsity or 0.0, index)
        for index, target in enumerate(TARGETS)
    ]
    assert decided(finished, []) == EVERY
    resting = unfinished_run(0.9, TARGETS[3], epochs=10, is_running=False)
    assert decided(finished, [resting]) == EVERY


def test_spent_runs_wait_for_the_last_one_and_end() -> None:
    goal = a_goal([NINETY], tolerance=1e-6, max_runs=3)
    finished = [finished_run(0.2, 0.5), finished_run(0.8, 0.99, 2)]
    spent = Spent(runs=3)
    assert decided(finished, [unfinished_run(0.5, NINETY)], goal, spent) == Wait()
    assert decided(finished, [], goal, spent) == Finish("search.max_runs (3) is spent")


@pytest.mark.parametrize("max_runs", [1, 2, 5])
def test_never_more_runs_than_allowed(max_runs: int) -> None:
    goal = a_goal([NINETY], tolerance=1e-12, max_runs=max_runs)
    sweep = Simulated(smooth(-1, 5, 0.5), goal=goal)
    assert sweep.search() == Finish(f"search.max_runs ({max_runs}) is spent")
    assert len(sweep.proposed) == max_runs


@pytest.mark.parametrize(("low", "high"), [(-2, 3), (-4, 0), (3, 8), (5, 9)])
def test_targets_out_of_reach_end_the_search_early(low: float, high: float) -> None:
    sweep = Simulated(smooth(low, high))
    assert sweep.search() == BEYOND
    assert len(sweep.proposed) <= 14
    for target in sweep.missed:
        assert out_of_reach(sweep.goal, target, sweep.finished)
        assert not expit(low) + 0.005 <= (target.sparsity or 0) <= expit(high) - 0.005


@pytest.mark.parametrize("level", [0.0, 0.2, 1.0])
def test_a_flat_curve_is_out_of_reach(level: float) -> None:
    sweep = Simulated(lambda _: level)
    assert sweep.search() == BEYOND
    assert len(sweep.proposed) <= 8


def test_a_step_from_0_to_1_ends_without_repeating() -> None:
    sweep = Simulated(lambda p: float(p > 0.61803), goal=a_goal(max_runs=12))
    assert sweep.search() != EVERY
    positions = [proposed.position for proposed in sweep.proposed]
    assert len(set(positions)) == len(positions) == 12


def test_great_noise_is_told_and_repeats_no_run() -> None:
    goal = a_goal([NINETY], tolerance=1e-5)
    sweep = Simulated(Noisy(smooth(-1, 5), 0.5, seed=0), goal=goal)
    assert "runs scatter more" in sweep.search().reason
    positions = [proposed.position for proposed in sweep.proposed]
    assert len(set(positions)) == len(positions) < 40


def test_failed_runs_are_spent_but_known_to_nobody() -> None:
    assert isinstance(decided([], [], spent=Spent(runs=1)), Propose)
    assert decided([], [], spent=Spent(runs=40)) == Finish("search.max_runs (40) is spent")


def test_a_stopped_run_goes_on_when_a_target_opens_where_it_would_end() -> None:
    places = (0.2, 0.35, 0.5, 0.65, 0.8)
    finished = [finished_run(p, LEVEL(p), n) for n, p in enumerate(places)]
    end = LEVEL(0.57)
    resting = unfinished_run(0.57, NINETY, final=end, epochs=20, is_running=False)
    goal = a_goal(sparsities(LEVEL(0.2), LEVEL(0.5)))
    assert decided(finished, [resting], goal) == EVERY
    opened = Target(sparsity=end)
    more = a_goal([*goal.targets, opened])
    resumed = decided(finished, [resting], more)
    assert resumed == Resume(
        run_id="run-099", target=opened, reason=f"stopped early, may end at {opened}"
    )
    far = a_goal([*goal.targets, Target(sparsity=LEVEL(0.72))])
    assert isinstance(decided(finished, [resting], far), Propose)


@pytest.mark.parametrize(
    ("max_runs", "max_epochs", "goes_on"),
    [(6, None, True), (6, 160, True), (6, 159, False), (7, 170, True)],
)
def test_going_on_is_no_new_run_but_costs_its_epochs(
    max_runs: int, max_epochs: int | None, goes_on: bool
) -> None:
    places = (0.2, 0.35, 0.5, 0.65, 0.8)
    finished = [finished_run(p, LEVEL(p), n) for n, p in enumerate(places)]
    resting = unfinished_run(0.57, NINETY, final=LEVEL(0.57), epochs=20, is_running=False)
    goal = a_goal(sparsities(LEVEL(0.57)), max_runs=max_runs, max_epochs=max_epochs)
    decision = decided(finished, [resting], goal, Spent(runs=6, epochs=150))
    assert isinstance(decision, Resume if goes_on else Finish)


def test_one_run_can_serve_two_targets_near_each_other() -> None:
    finished = [finished_run(p, LEVEL(p), n) for n, p in enumerate((0.2, 0.4, 0.6, 0.8))]
    lower, upper = LEVEL(0.495), LEVEL(0.505)
    goal = a_goal(sparsities(lower, upper), tolerance=0.02)
    proposed = decided(finished, [], goal)
    assert isinstance(proposed, Propose)
    assert upper - 0.02 < LEVEL(proposed.position) < lower + 0.02


def test_where_a_run_failed_by_its_settings_none_follows() -> None:
    first = decide(a_goal(), PATH, [], [], spent=Spent(runs=1))
    assert isinstance(first, Propose)
    assert first.target is not None
    diverged = FailedRun(position=first.position, target=first.target)
    spent = Spent(runs=1)
    after = decide(a_goal(), PATH, [], [], spent=spent, failed=[diverged])
    assert isinstance(after, Propose)
    assert abs(after.position - first.position) == pytest.approx(0.02, abs=1e-3)
    lost = replace(diverged, would_again=False)  # with a machine
    assert decide(a_goal(), PATH, [], [], spent=spent, failed=[lost]) == first

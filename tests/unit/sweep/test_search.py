"""The search hits its targets on simulated sweeps, in few runs, and knows when to stop."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from strsweep.sweep.curve import logit
from strsweep.sweep.search import (
    Decision,
    Finish,
    FinishedRun,
    Goal,
    OpenRun,
    Propose,
    Wait,
    decide,
    open_targets,
    out_of_reach,
)

TARGETS = (0.8, 0.9, 0.95, 0.98)
GOAL = Goal(targets=TARGETS, tolerance=0.005, max_runs=40)
DIGITS = Path(__file__).with_name("digits_curve.csv")


@dataclass
class Simulated:
    """A sweep whose runs end at once, in the order given by ``last_first``."""

    curve: Callable[[float], float]
    goal: Goal = GOAL
    slots: int = 2
    one_by_one: bool = False
    last_first: bool = False
    finished: list[FinishedRun] = field(default_factory=list[FinishedRun])
    running: list[OpenRun] = field(default_factory=list[OpenRun])
    positions: list[float] = field(default_factory=list[float])

    def search(self) -> Finish:
        while True:
            decision = self._fill()
            if not self.running:
                assert isinstance(decision, Finish)
                return decision
            for _ in range(1 if self.one_by_one else len(self.running)):
                self._end(self.running.pop(-1 if self.last_first else 0))

    def _fill(self) -> Decision | None:
        decision = None
        while len(self.running) < self.slots:
            decision = decide(
                self.goal,
                self.finished,
                self.running,
                spent=len(self.positions),
                slots=self.slots,
            )
            if not isinstance(decision, Propose):
                break
            self._start(decision)
        return decision

    def _start(self, proposed: Propose) -> None:
        assert 0 <= proposed.position <= 1
        assert proposed.position not in self.positions, "the same run twice teaches nothing"
        aimed = [run.target for run in self.running if run.target is not None]
        assert proposed.target not in aimed, "one target is aimed at by one run at a time"
        assert proposed.target is None or proposed.target in self.goal.targets
        assert proposed.reason
        self.positions.append(proposed.position)
        self.running.append(OpenRun(position=proposed.position, target=proposed.target))

    def _end(self, run: OpenRun) -> None:
        self.finished.append(at(run.position, self.curve(run.position), len(self.finished)))


def at(position: float, sparsity: float, number: int = 0) -> FinishedRun:
    return FinishedRun(
        run_id=f"run-{number + 1:03d}", position=position, sparsity=sparsity, accuracy=0.9
    )


def logistic(level: float) -> float:
    return 1 / (1 + math.exp(-level))


def smooth(low: float, high: float, bend: float = 0.0) -> Callable[[float], float]:
    """Return a rising curve from logit ``low`` to logit ``high``, bent but smooth."""
    return lambda p: logistic(low + (high - low) * (p + bend * p * (1 - p)))


def noisy(curve: Callable[[float], float], sigma: float, seed: int) -> Callable[[float], float]:
    rng = np.random.default_rng(seed)
    return lambda p: logistic(logit(curve(p)) + rng.normal(0, sigma))


def decided(
    finished: list[FinishedRun], running: list[OpenRun], goal: Goal = GOAL, slots: int = 2
) -> Decision:
    return decide(goal, finished, running, spent=len(finished) + len(running), slots=slots)


@pytest.mark.parametrize("order", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("bend", [0.0, 0.5, -0.5])
@pytest.mark.parametrize(("low", "high"), [(1, 4.5), (-1, 5), (-3, 7), (-6, 6), (1.2, 4)])
def test_smooth_curve_takes_at_most_ten_runs(
    low: float, high: float, bend: float, order: tuple[bool, bool]
) -> None:
    sweep = Simulated(smooth(low, high, bend), one_by_one=order[0], last_first=order[1])
    assert sweep.search().reason == "every target is hit"
    assert open_targets(GOAL, sweep.finished) == []
    assert len(sweep.positions) <= 10


@pytest.mark.parametrize("seed", range(12))
def test_noisy_curve_takes_at_most_fourteen_runs(seed: int) -> None:
    sweep = Simulated(noisy(smooth(-1, 5, 0.3), 0.02, seed))
    assert sweep.search().reason == "every target is hit"
    assert len(sweep.positions) <= 14


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 8])
def test_any_number_of_slots_hits_every_target(slots: int) -> None:
    sweep = Simulated(noisy(smooth(-1, 5), 0.02, 0), slots=slots, one_by_one=True)
    assert sweep.search().reason == "every target is hit"
    assert len(sweep.positions) <= 14


def test_recorded_digits_curve_takes_at_most_ten_runs() -> None:
    with DIGITS.open(newline="") as file:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    decay = np.log([row["weight_decay"] for row in rows])
    level = [logit(row["sparsity"]) for row in rows]
    assert len(rows) == 60
    assert (np.diff(decay) > 0).all()
    low, high = math.log(4e-3), math.log(2.4e-2)
    sweep = Simulated(lambda p: logistic(float(np.interp(low + p * (high - low), decay, level))))
    assert sweep.search().reason == "every target is hit"
    assert len(sweep.positions) <= 10


def test_first_runs_are_spread_evenly() -> None:
    assert decided([], []) == Propose(position=0.25, target=None, reason="first look at the range")
    second = decided([], [OpenRun(position=0.25, target=None)])
    assert isinstance(second, Propose)
    assert second.position == 0.75


def test_search_waits_for_its_first_runs() -> None:
    running = [OpenRun(position=p, target=None) for p in (0.25, 0.75)]
    assert decided([], running, slots=2) == Wait()
    assert decided([at(0.25, 0.5)], running[1:], slots=2) == Wait()


def test_search_waits_when_every_target_is_aimed_at() -> None:
    finished = [at(0.25, 0.5), at(0.75, 0.99)]
    goal = Goal(targets=(0.9,), tolerance=0.005, max_runs=9)
    first = decided(finished, [], goal)
    assert isinstance(first, Propose)
    assert first.target == 0.9
    assert decided(finished, [OpenRun(position=first.position, target=0.9)], goal) == Wait()


def test_aim_is_where_the_curve_has_the_target() -> None:
    finished = [at(0.25, logistic(0)), at(0.75, logistic(4))]
    goal = Goal(targets=(logistic(1),), tolerance=0.005, max_runs=9)
    proposed = decided(finished, [], goal)
    assert isinstance(proposed, Propose)
    assert proposed.position == pytest.approx(0.375)
    assert proposed.reason == "between run-001 (50.00%) and run-001 (98.20%)"


def test_aim_beyond_the_runs_says_so() -> None:
    finished = [at(0.25, logistic(0)), at(0.75, logistic(4))]
    goal = Goal(targets=(logistic(5),), tolerance=0.001, max_runs=9)
    proposed = decided(finished, [], goal)
    assert isinstance(proposed, Propose)
    assert proposed.position == pytest.approx(0.875)
    assert proposed.reason == "beyond run-001 (98.20%)"


def test_search_ends_when_every_target_is_hit_even_with_runs_under_way() -> None:
    finished = [at(0.1 * index, target) for index, target in enumerate(TARGETS)]
    running = [OpenRun(position=0.9, target=0.98)]
    assert decided(finished, running) == Finish("every target is hit")


def test_distance_of_exactly_the_tolerance_is_a_hit() -> None:
    assert at(0.5, 0.75).hits(0.5, 0.25)
    assert not at(0.5, 0.7501).hits(0.5, 0.25)


def test_spent_budget_waits_for_the_last_run_and_ends() -> None:
    goal = Goal(targets=(0.9,), tolerance=1e-6, max_runs=3)
    finished = [at(0.2, 0.5), at(0.8, 0.99)]
    running = [OpenRun(position=0.5, target=0.9)]
    assert decide(goal, finished, running, spent=3, slots=2) == Wait()
    ended = decide(goal, finished, [], spent=3, slots=2)
    assert ended == Finish("search.max_runs (3) is spent")


@pytest.mark.parametrize("max_runs", [1, 2, 5])
def test_never_more_runs_than_allowed(max_runs: int) -> None:
    goal = Goal(targets=(0.9,), tolerance=1e-12, max_runs=max_runs)
    sweep = Simulated(smooth(-1, 5, 0.5), goal=goal)
    assert sweep.search().reason == f"search.max_runs ({max_runs}) is spent"
    assert len(sweep.positions) == max_runs


@pytest.mark.parametrize(("low", "high"), [(-2, 3), (-4, 0), (3, 8), (5, 9)])
def test_targets_out_of_reach_end_the_search_early(low: float, high: float) -> None:
    sweep = Simulated(smooth(low, high))
    assert sweep.search() == Finish("the targets left are out of reach of the ranges")
    assert len(sweep.positions) <= 10
    for target in open_targets(GOAL, sweep.finished):
        assert out_of_reach(target, sweep.finished)
        assert not logistic(low) + 0.005 <= target <= logistic(high) - 0.005


@pytest.mark.parametrize("level", [0.0, 0.2, 1.0])
def test_curve_that_is_flat_at_both_ends_is_out_of_reach(level: float) -> None:
    sweep = Simulated(lambda _: level)
    assert sweep.search() == Finish("the targets left are out of reach of the ranges")
    assert len(sweep.positions) <= 6


def test_step_from_0_to_1_spends_the_budget_without_repeating() -> None:
    sweep = Simulated(lambda p: float(p > 0.61803))
    assert sweep.search() == Finish("search.max_runs (40) is spent")
    assert len(set(sweep.positions)) == 40


@pytest.mark.parametrize("seed", range(5))
def test_great_noise_never_repeats_a_run(seed: int) -> None:
    goal = Goal(targets=TARGETS, tolerance=1e-5, max_runs=40)
    sweep = Simulated(noisy(smooth(-1, 5), 0.5, seed), goal=goal, slots=3, one_by_one=True)
    sweep.search()
    assert len(set(sweep.positions)) == len(sweep.positions)


def test_failed_runs_are_spent_but_known_to_nobody() -> None:
    again = decide(GOAL, [], [], spent=1, slots=2)
    assert isinstance(again, Propose)
    assert decide(GOAL, [], [], spent=40, slots=2) == Finish("search.max_runs (40) is spent")

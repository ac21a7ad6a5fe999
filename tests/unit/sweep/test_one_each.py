"""With a budget to obey, every target takes one run, and the sweep always ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_simulation import a_goal, digits, finished_run, sparsities, unfinished_run

from strsweep.config import RunSettings, Target
from strsweep.sweep.one_each import decide_each, told_settings
from strsweep.sweep.state import (
    Decision,
    FailedRun,
    Finish,
    FinishedRun,
    Goal,
    Propose,
    Spent,
    UnfinishedRun,
    Wait,
)

GMP = ("sparsity.mode=gmp", "sparsity.budget=uniform", "search.weight_decay=1e-4")
TARGETS = sparsities(0.95, 0.8, 0.9)
HIGH, LOW, MIDDLE = TARGETS
# Further apart than twice the tolerance, so that no run hits two of them.
some_targets = st.lists(st.integers(1, 98), min_size=1, max_size=8, unique=True).map(
    lambda percents: sparsities(*(percent / 100 for percent in percents))
)


def goal(targets: Sequence[Target] = TARGETS, max_runs: int = 20) -> Goal:
    return a_goal(targets, tolerance=0.004, max_runs=max_runs)


def run(target: Target, sparsity: float | None = None) -> FinishedRun:
    reached = sparsity or target.sparsity or 0.0
    return finished_run(0.0, reached, target=target)


def opened(target: Target) -> UnfinishedRun:
    return unfinished_run(0.0, target)


def aimed(target: Target) -> Propose:
    return Propose(position=0.0, target=target, reason="told exactly")


def decided(
    finished: Sequence[FinishedRun] = (),
    running: Sequence[UnfinishedRun] = (),
    *,
    lost: int = 0,
    failed: Sequence[Target] = (),
    max_runs: int = 20,
) -> Decision:
    spent = Spent(runs=len(finished) + len(running) + len(failed) + lost)
    lost_again = [FailedRun(position=0.0, target=target) for target in failed]
    return decide_each(goal(max_runs=max_runs), finished, running, spent=spent, failed=lost_again)


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (decided(), aimed(HIGH)),
        (decided([], [opened(HIGH)]), aimed(LOW)),
        (decided([run(HIGH)], [opened(LOW)]), aimed(MIDDLE)),
        (decided([run(HIGH, 0.953)], [opened(LOW), opened(MIDDLE)]), Wait()),
        (decided([*map(run, TARGETS)]), Finish("every target is hit")),
        # A run that ended elsewhere, say in a small layer, would end there again.
        (decided([run(HIGH, 0.7)]), aimed(LOW)),
        (decided([run(HIGH, 0.7), run(LOW), run(MIDDLE)]), Finish("every target had its run")),
        # A run that was lost may have met a broken node: it is tried again.
        (decided(lost=1), aimed(HIGH)),
        (decided(failed=[HIGH]), aimed(LOW)),
        (
            decided([run(LOW), run(MIDDLE)], failed=[HIGH]),
            Finish("the runs of the targets left failed, and would fail again"),
        ),
        # Neither a target that is hit nor one that nobody asks for any more is to blame.
        (decided([run(LOW)], failed=[HIGH], max_runs=2), Finish("search.max_runs (2) is spent")),
        (
            decided([run(HIGH, 0.7), run(LOW), run(MIDDLE)], failed=sparsities(0.5)),
            Finish("every target had its run"),
        ),
        (decided(lost=20), Finish("search.max_runs (20) is spent")),
        (decided([], [opened(HIGH)], lost=19), Wait()),
        (decided([run(HIGH), run(LOW)], max_runs=2), Finish("search.max_runs (2) is spent")),
        (decided([*map(run, TARGETS)], max_runs=3), Finish("every target is hit")),
    ],
)
def test_decisions_by_hand(decision: Decision, expected: Decision) -> None:
    assert decision == expected


def test_runs_are_told_what_to_prune() -> None:
    asked = goal([*TARGETS, Target(macs=0.25), Target(macs=45_222.4)])
    experiment = digits(*GMP)
    told = [told_settings(experiment, asked, target) for target in asked.targets]
    assert told[:3] == [RunSettings(weight_decay=1e-4, sparsity=s) for s in (0.95, 0.8, 0.9)]
    assert told[3] == RunSettings(weight_decay=1e-4, macs=0.25)
    assert told[4].macs == pytest.approx(0.1)


@dataclass
class Told:
    """A sweep whose runs end in any order; ``outcome`` gives a sparsity, or None for a loss."""

    goal: Goal
    slots: int
    outcome: Callable[[float], float | None]
    pick: Callable[[int], int]
    finished: list[FinishedRun] = field(default_factory=list[FinishedRun])
    running: list[UnfinishedRun] = field(default_factory=list[UnfinishedRun])
    started: list[Target] = field(default_factory=list[Target])

    def sweep(self) -> Finish:
        for _ in range(1000):
            decision = self._fill()
            if not self.running:
                assert isinstance(decision, Finish)
                return decision
            ended = self.running.pop(self.pick(len(self.running))).target
            assert ended is not None
            assert ended.sparsity is not None
            sparsity = self.outcome(ended.sparsity)
            if sparsity is not None:
                self.finished.append(run(ended, sparsity))
        raise AssertionError("it does not end")

    def _fill(self) -> Decision | None:
        decision = None
        while len(self.running) < self.slots:
            spent = Spent(runs=len(self.started))
            decision = decide_each(self.goal, self.finished, self.running, spent=spent)
            if not isinstance(decision, Propose):
                break
            assert decision.target in self.goal.targets
            assert decision.target not in [run.target for run in self.running]
            self.started.append(decision.target)
            self.running.append(opened(decision.target))
        return decision


@given(some_targets, st.integers(1, 5), st.integers(0, 20), st.randoms(use_true_random=False))
def test_every_target_gets_exactly_one_run(
    targets: tuple[Target, ...], slots: int, spare: int, random: Random
) -> None:
    wanted = goal(targets, max_runs=len(targets) + spare)
    told = Told(wanted, slots, lambda sparsity: sparsity + 1e-4, pick=random.randrange)
    assert told.sweep() == Finish("every target is hit")
    assert told.started == list(targets)


@given(some_targets, st.integers(1, 5), st.integers(1, 12), st.randoms(use_true_random=False))
def test_it_ends_within_the_budget_whatever_the_runs_do(
    targets: tuple[Target, ...], slots: int, max_runs: int, random: Random
) -> None:
    def outcome(sparsity: float) -> float | None:
        return random.choice([None, sparsity, sparsity / 2])

    told = Told(goal(targets, max_runs), slots, outcome, pick=random.randrange)
    reason = told.sweep().reason
    assert len(told.started) <= max_runs
    ends = [run.target for run in told.finished]
    assert len(set(ends)) == len(ends), "a run that ended is not repeated"
    if reason != f"search.max_runs ({max_runs}) is spent":
        assert set(ends) == set(targets)

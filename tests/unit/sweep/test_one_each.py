"""With a budget to obey, every target takes one run, and the sweep always ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strsweep.config import Experiment, RunSettings, load_experiment
from strsweep.journal import RunProposed
from strsweep.sweep.one_each import decide_each
from strsweep.sweep.path import BudgetPath, SearchPath, path_of
from strsweep.sweep.search import Decision, Finish, FinishedRun, Goal, OpenRun, Propose, Wait

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
GMP = ("sparsity.mode=gmp", "sparsity.budget=uniform", "search.weight_decay=1e-4")
TARGETS = (0.95, 0.8, 0.9)
# Further apart than twice the tolerance, so that no run hits two of them.
some_targets = st.lists(st.integers(1, 98), min_size=1, max_size=8, unique=True).map(
    lambda percents: tuple(percent / 100 for percent in percents)
)


def goal(targets: Sequence[float] = TARGETS, max_runs: int = 20) -> Goal:
    return Goal(targets=tuple(targets), tolerance=0.004, max_runs=max_runs)


def run(position: float, sparsity: float | None = None) -> FinishedRun:
    reached = position if sparsity is None else sparsity
    return FinishedRun(run_id="run", position=position, sparsity=reached, accuracy=0.9)


def opened(target: float) -> OpenRun:
    return OpenRun(position=target, target=target)


def aimed(target: float) -> Propose:
    return Propose(position=target, target=target, reason="told exactly")


def decided(
    finished: Sequence[FinishedRun] = (),
    running: Sequence[OpenRun] = (),
    *,
    failed: int = 0,
    max_runs: int = 20,
) -> Decision:
    spent = len(finished) + len(running) + failed
    return decide_each(goal(max_runs=max_runs), finished, running, spent=spent)


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (decided(), aimed(0.8)),
        (decided([], [opened(0.8)]), aimed(0.9)),
        (decided([run(0.8)], [opened(0.9)]), aimed(0.95)),
        (decided([run(0.8, 0.803)], [opened(0.9), opened(0.95)]), Wait()),
        (decided([run(0.8), run(0.9), run(0.95)]), Finish("every target is hit")),
        # A run that ended elsewhere, say in a small layer, would end there again.
        (decided([run(0.8, 0.7)]), aimed(0.9)),
        (decided([run(0.8, 0.7), run(0.9), run(0.95)]), Finish("every target had its run")),
        # A run that failed may have met a broken node: it is tried again.
        (decided(failed=1), aimed(0.8)),
        (decided(failed=20), Finish("search.max_runs (20) is spent")),
        (decided([], [opened(0.8)], failed=19), Wait()),
        (decided([run(0.8), run(0.9)], max_runs=2), Finish("search.max_runs (2) is spent")),
        (decided([run(0.8), run(0.9), run(0.95)], max_runs=3), Finish("every target is hit")),
    ],
)
def test_decisions_by_hand(decision: Decision, expected: Decision) -> None:
    assert decision == expected


@dataclass
class Simulated:
    """A sweep whose runs end in any order; ``outcome`` gives a sparsity, or None for a failure."""

    goal: Goal
    slots: int
    outcome: Callable[[float], float | None]
    pick: Callable[[int], int]
    finished: list[FinishedRun] = field(default_factory=list[FinishedRun])
    running: list[OpenRun] = field(default_factory=list[OpenRun])
    started: list[float] = field(default_factory=list[float])

    def sweep(self) -> Finish:
        for _ in range(1000):
            decision = self._fill()
            if not self.running:
                assert isinstance(decision, Finish)
                return decision
            ended = self.running.pop(self.pick(len(self.running)))
            sparsity = self.outcome(ended.position)
            if sparsity is not None:
                self.finished.append(run(ended.position, sparsity))
        raise AssertionError("it does not end")

    def _fill(self) -> Decision | None:
        decision = None
        while len(self.running) < self.slots:
            decision = decide_each(
                self.goal,
                self.finished,
                self.running,
                spent=len(self.started),
            )
            if not isinstance(decision, Propose):
                break
            assert decision.position == decision.target
            assert decision.target in self.goal.targets
            assert decision.target not in [run.target for run in self.running]
            self.started.append(decision.position)
            self.running.append(opened(decision.position))
        return decision


@given(some_targets, st.integers(1, 5), st.integers(0, 20), st.randoms(use_true_random=False))
def test_every_target_gets_exactly_one_run(
    targets: tuple[float, ...], slots: int, spare: int, random: Random
) -> None:
    wanted = goal(targets, max_runs=len(targets) + spare)
    simulated = Simulated(wanted, slots, lambda p: p + 0.003, pick=random.randrange)
    assert simulated.sweep() == Finish("every target is hit")
    assert sorted(simulated.started) == sorted(targets)


@given(some_targets, st.integers(1, 5), st.integers(1, 12), st.randoms(use_true_random=False))
def test_it_ends_within_the_budget_whatever_the_runs_do(
    targets: tuple[float, ...], slots: int, max_runs: int, random: Random
) -> None:
    def outcome(position: float) -> float | None:
        return random.choice([None, position, position / 2])

    simulated = Simulated(goal(targets, max_runs), slots, outcome, pick=random.randrange)
    reason = simulated.sweep().reason
    assert len(simulated.started) <= max_runs
    ends = [run.position for run in simulated.finished]
    assert len(set(ends)) == len(ends), "a run that ended is not repeated"
    if reason != f"search.max_runs ({max_runs}) is spent":
        assert reason in {"every target is hit", "every target had its run"}
        for target in targets:
            assert target in ends or any(run.hits(target, 0.004) for run in simulated.finished)


def load(*overrides: str) -> Experiment:
    return load_experiment(DIGITS, overrides)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), SearchPath((-10.0, -10.0), (4e-3, 2.4e-2))),
        (GMP, BudgetPath(1e-4, is_point=False)),
        ((*GMP, "sparsity.budget=erk"), BudgetPath(1e-4, is_point=False)),
        ((*GMP, "sparsity.mode=dnw"), BudgetPath(1e-4, is_point=False)),
        ((*GMP, "sparsity.budget={fc: 0.1}"), BudgetPath(1e-4, is_point=True)),
        (("sparsity.mode=dense", "search.weight_decay=0"), BudgetPath(0, is_point=True)),
    ],
)
def test_the_method_chooses_the_path(
    overrides: tuple[str, ...], expected: BudgetPath | SearchPath
) -> None:
    path = path_of(load(*overrides))
    assert path == expected
    assert path.is_point is expected.is_point


@given(st.floats(0, 1, exclude_max=True))
def test_the_position_of_a_budget_is_its_sparsity(position: float) -> None:
    path = BudgetPath(1e-4, is_point=False)
    settings = path.at(position)
    assert settings == RunSettings(weight_decay=1e-4, sparsity=position)
    proposed = RunProposed(run_id="run-001", settings=settings, target=position, reason="")
    reread = RunProposed.model_validate_json(proposed.model_dump_json())
    assert path.locate(reread.settings) == position  # to the last bit: it tells a target as tried


@given(st.floats(0, 1))
def test_a_budget_by_layer_has_one_place(position: float) -> None:
    path = BudgetPath(1e-4, is_point=True)
    assert path.at(position) == RunSettings(weight_decay=1e-4)
    assert path.locate(path.at(position)) == 0

"""Our search over whole runs: what it pays for stopped runs, and what it costs on digits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from strsweep.bench.search_ours import OneByOne, Rules
from strsweep.bench.search_problems import PROBLEMS, TARGETS
from strsweep.bench.search_runs import Landed, RecordedRun, Runs
from strsweep.config import Problem, RunSettings, Target
from strsweep.sweep.state import Decision, Finish, Propose, Resume, UnfinishedRun, Wait
from strsweep.sweep.stopping import Stop

ROOT = Path(__file__).parents[3]
DIGITS = ROOT / "jobs/configs/digits.yaml"
NUMBERS = Problem(steps_per_epoch=11, weights=69904, dense_macs=452224, weight_scale=0.0245)
NINETY = Target(sparsity=0.9)


class Straight(Runs):
    """Runs that end at 0.9 at the low end of the range and at 0.6 elsewhere, over 30 epochs."""

    def _find(self, settings: RunSettings) -> RecordedRun:
        final = 0.9 if settings.weight_decay < 5e-3 else 0.6
        return RecordedRun(
            weight_decay=settings.weight_decay,
            sparsity=tuple(final * epoch / 30 for epoch in range(1, 31)),
            macs=tuple(452224 - 1000 * epoch for epoch in range(1, 31)),
            accuracy=(0.97,) * 30,
            landed=(Landed(target=0.9, sparsity=0.9, accuracy=0.98),) if final == 0.9 else (),
        )


class Script:
    """Says decisions one after the other, and stops the first run at its first checkpoint."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self._decisions: Iterator[Decision] = iter(decisions)
        self.seen: list[tuple[int, list[int], int, int]] = []
        self.judged: list[int] = []

    def decide(
        self, _goal: Any, _path: Any, finished: Sequence[Any], unfinished: Any, *, spent: Any
    ) -> Decision:
        assert not any(run.is_running for run in unfinished)
        epochs = [run.epochs for run in unfinished]
        self.seen.append((len(finished), epochs, spent.runs, spent.epochs))
        return next(self._decisions)

    def judge(
        self, _goal: Any, _path: Any, _finished: Any, unfinished: Any, run: UnfinishedRun, **_: Any
    ) -> Stop | None:
        assert run in unfinished
        self.judged.append(run.epochs)
        return Stop("would miss") if len(self.judged) == 1 else None


def swept(decisions: Sequence[Decision]) -> tuple[OneByOne, Script]:
    script = Script(decisions)
    rules = Rules(decide=script.decide, judge=script.judge)
    sweep = OneByOne(PROBLEMS["digits"].experiment(DIGITS, 0), NUMBERS, Straight(), rules)
    sweep.search()
    return sweep, script


def test_a_stopped_run_costs_its_epochs_and_goes_on_from_there() -> None:
    sweep, script = swept([
        Propose(position=0.0, target=NINETY, reason=""),
        Propose(position=0.5, target=NINETY, reason=""),
        Resume(run_id="run-001", target=NINETY, reason=""),
        Finish(""),
    ])
    assert script.seen == [(0, [], 0, 0), (0, [3], 1, 3), (1, [3], 2, 33), (2, [], 2, 60)]
    assert script.judged == [3, *range(3, 30, 3), *range(6, 30, 3)]
    assert (sweep.num_runs, sweep.epochs) == (2, 60)
    assert [run.run_id for run in sweep.finished] == ["run-002", "run-001"]
    assert [snapshot.epoch for snapshot in sweep.finished[1].trajectory] == list(range(1, 31))
    assert sweep.finished[1].macs_pruned == pytest.approx(30000 / 452224)


def test_what_is_hit_is_landed_and_the_rest_is_nearest() -> None:
    sweep, _ = swept([
        Propose(position=0.0, target=NINETY, reason=""),
        Propose(position=0.5, target=NINETY, reason=""),
        Resume(run_id="run-001", target=NINETY, reason=""),
        Finish(""),
    ])
    found = sweep.deliveries()
    assert [delivery.target for delivery in found] == list(TARGETS)
    assert [delivery.is_hit for delivery in found] == [False, True, False, False, False]
    assert [delivery.run.final for delivery in found] == pytest.approx([0.9] * 5)
    assert [delivery.landed is not None for delivery in found] == [False, True, *[False] * 3]


def test_waiting_for_nothing_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="nothing runs"):
        swept([Wait()])

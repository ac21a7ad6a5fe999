"""Runs are trained once, remembered with what they depend on, and interpolated where recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from strsweep.bench import search_training
from strsweep.bench.search_cases import cases_of
from strsweep.bench.search_problems import PROBLEMS
from strsweep.bench.search_replay import ReplayedRuns, read_recorded, recorded_lines
from strsweep.bench.search_runs import Landed, RecordedRun, TrainedRuns, code_id
from strsweep.bench.search_training import Trainer
from strsweep.config import Correction, Experiment, RunSettings, load_experiment
from strsweep.sweep.curve import logit

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
SETTINGS = RunSettings(threshold_init=-10, weight_decay=0.01)
CLOCK = (30.0, 40.0)
"""Of two epochs."""


class Counting:
    """Counts what it is asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, float]] = []

    def __call__(self, experiment: Experiment, settings: RunSettings) -> RecordedRun:
        self.calls.append((experiment.training.seed, settings.weight_decay))
        return RecordedRun(
            weight_decay=settings.weight_decay,
            told=settings.sparsity,
            sparsity=(0.1, 0.8),
            macs=(9, 5),
            accuracy=(0.5, 0.9),
            landed=(Landed(target=0.8, sparsity=0.8, accuracy=0.91),),
        )


def test_nothing_is_trained_twice(tmp_path: Path) -> None:
    train, memo = Counting(), tmp_path / "bench" / "runs.jsonl"
    experiment = PROBLEMS["digits"].experiment(DIGITS, 3)
    first = TrainedRuns(experiment, memo, train)
    run = first.at(SETTINGS)
    assert first.at(SETTINGS) is run
    again = TrainedRuns(experiment, memo, train)
    assert list(again.used) == []
    assert again.at(SETTINGS) == run
    assert list(again.used) == [run]
    assert train.calls == [(3, 0.01)]


def test_another_seed_or_steering_is_another_run(tmp_path: Path) -> None:
    train, memo = Counting(), tmp_path / "runs.jsonl"
    for seed in (0, 1):
        runs = TrainedRuns(PROBLEMS["digits"].experiment(DIGITS, seed), memo, train)
        runs.at(SETTINGS)
        runs.at(RunSettings(weight_decay=0.01, sparsity=0.8))
    assert train.calls == [(0, 0.01), (0, 0.01), (1, 0.01), (1, 0.01)]


def test_runs_of_other_code_are_not_used(tmp_path: Path) -> None:
    train, memo = Counting(), tmp_path / "runs.jsonl"
    experiment = PROBLEMS["digits"].experiment(DIGITS, 0)
    TrainedRuns(experiment, memo, train).at(SETTINGS)
    (line,) = memo.read_text().splitlines()
    assert json.loads(line)["recipe"].endswith(code_id())
    memo.write_text(line.replace(code_id(), "older") + "\n")
    TrainedRuns(experiment, memo, train).at(SETTINGS)
    assert len(train.calls) == 2


def recorded(weight_decay: float, sparsity: float, told: float | None = None) -> RecordedRun:
    return RecordedRun(
        weight_decay=weight_decay,
        told=told,
        sparsity=(0.0, sparsity),
        macs=(100, round(100 * (1 - sparsity))),
        accuracy=(0.5, 1 - sparsity / 10),
        landed=(Landed(target=0.8, sparsity=0.8, accuracy=0.9),),
    )


def test_between_recorded_runs_the_level_is_straight() -> None:
    low, high = recorded(0.001, 0.5), recorded(0.1, 0.9)
    runs = ReplayedRuns([high, low], CLOCK)
    middle = runs.at(RunSettings(weight_decay=0.01))
    assert logit(middle.final) == pytest.approx((logit(0.5) + logit(0.9)) / 2)
    assert (middle.macs, middle.accuracy[-1]) == ((100, 30), pytest.approx(0.93))
    assert middle.weight_decay == pytest.approx(0.01)
    assert middle.landed == ()


def test_recorded_runs_and_what_is_beyond() -> None:
    low, high = recorded(0.001, 0.5), recorded(0.1, 0.9)
    runs = ReplayedRuns([low, high], CLOCK)
    ends = [runs.at(RunSettings(weight_decay=decay)) for decay in (0.0001, 0.001, 0.1, 1.0)]
    assert ends == [low, low, high, high]


def test_steered_runs_are_there_or_not() -> None:
    told = recorded(5e-4, 0.8, told=0.8)
    runs = ReplayedRuns([recorded(0.01, 0.5), told], CLOCK)
    assert runs.at(RunSettings(weight_decay=5e-4, sparsity=0.8)) is told
    with pytest.raises(LookupError):
        runs.at(RunSettings(weight_decay=5e-4, sparsity=0.9))


def test_a_file_of_recorded_runs_reads_back(tmp_path: Path) -> None:
    runs = {
        ("digits", 0): [recorded(0.001, 0.5), recorded(5e-4, 0.8, told=0.8)],
        ("digits-deep", 1): [recorded(0.01, 0.5)],
    }
    lines = [line for key, group in runs.items() for line in recorded_lines(*key, group)]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines) + "\n")
    assert read_recorded(tmp_path / "runs.jsonl") == runs


def short() -> Experiment:
    return load_experiment(DIGITS, ["training.epochs=2", "search.weight_decay=[1e-3, 1e-1]"])


def test_a_run_is_landed_on_what_it_ends_near(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = RunSettings(threshold_init=-10, weight_decay=0.05)
    run = Trainer()(short(), settings)
    assert (run.epochs, len(run.macs), run.landed) == (2, 2, ())
    wanted = round(run.final, 3) + 0.002
    monkeypatch.setattr(search_training, "TARGETS", (wanted, wanted + 0.1))
    (landed,) = Trainer()(short(), settings).landed
    assert landed.target == wanted
    assert landed.sparsity == pytest.approx(wanted, abs=1e-5)
    assert run.landed_on(wanted) is None


def test_a_told_run_is_steered() -> None:
    run = Trainer()(short(), RunSettings(weight_decay=5e-4, sparsity=0.7))
    assert (run.told, run.landed) == (0.7, ())
    assert run.final == pytest.approx(0.7, abs=1e-5)


def test_the_longest_cases_come_first(tmp_path: Path) -> None:
    cases = cases_of(list(PROBLEMS), 2, 1, config=DIGITS, memo=tmp_path / "runs.jsonl")
    assert [(case.problem, case.seed, case.with_peers) for case in cases] == [
        ("digits-deep", 0, True),
        ("digits", 0, True),
        ("digits-deep", 1, False),
        ("digits", 1, False),
    ]


def test_a_corrected_run_goes_on_and_is_the_same_as_from_the_start() -> None:
    settings = RunSettings(threshold_init=-6, weight_decay=0.02)
    corrected = settings.corrected(Correction(after_epoch=1, weight_decay=0.04))
    trainer = Trainer()
    trainer(short(), settings)
    gone_on, anew = trainer(short(), corrected), Trainer()(short(), corrected)
    assert gone_on == anew
    assert gone_on.key == (0.02, None, ((1, 0.04),))


def test_between_recorded_runs_a_corrected_one_is_where_its_drive_is() -> None:
    low, high = recorded(0.001, 0.5), recorded(0.1, 0.9)
    settings = RunSettings(threshold_init=-10, weight_decay=0.001)
    corrected = settings.corrected(Correction(after_epoch=1, weight_decay=0.037))
    runs = ReplayedRuns([low, high], CLOCK)
    # 30 * 0.001 + 10 * 0.037 = 40 * 0.01
    assert runs.at(corrected).final == pytest.approx(
        runs.at(settings.model_copy(update={"weight_decay": 0.01})).final
    )
    assert runs.at(corrected).sparsity[0] == runs.at(settings).sparsity[0]

"""Simulated runs go as the law says and write what workers write; the stopwatch sorts by runs."""

from __future__ import annotations

import math
import pickle
from dataclasses import fields, replace

import pytest
from benchmarks.scale import DIGITS, SimulatedRuns, Stopwatch, simulated_runs

from strsweep.journal import EpochFinished, PrefixTrained, RunFinished
from strsweep.search.space import LawSpace
from strsweep.settings import Fork, RunSettings
from strsweep.training.controlled import EpochMetrics
from strsweep.training.law import expit


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> SimulatedRuns:
    folder = tmp_path_factory.mktemp("scale")
    return simulated_runs(DIGITS, trials=12, targets=5, noise=0.0, results=folder)


@pytest.fixture(scope="module")
def space(runs: SimulatedRuns) -> LawSpace:
    return LawSpace(runs.experiment, runs.problem)


def settings_at(space: LawSpace, decay: float, **more: object) -> RunSettings:
    settings = space.dense(is_whole=True)
    return settings.model_copy(update={"is_dense": False, "threshold_decay": decay, **more})


def end_of(runs: SimulatedRuns, settings: RunSettings, run_id: str = "run-002") -> float:
    *_, end = runs.epochs(run_id, settings)
    return end.metrics["sparsity"] if isinstance(end, RunFinished) else math.nan


def test_a_run_with_one_decay_ends_by_the_law(runs: SimulatedRuns, space: LawSpace) -> None:
    # The true network is 1.3 times as hard as expected, and its thresholds are 0.05 of that late.
    unknown, late = 1.3 * space.expected, 0.05 * space.expected
    exposure = 0.02 * space.clock.total - space.delay(space.threshold_init[0]) - late
    expected = expit(space.law.level(exposure, unknown))
    assert end_of(runs, settings_at(space, 0.02)) == pytest.approx(expected)


def test_the_events_are_those_of_a_worker(runs: SimulatedRuns, space: LawSpace) -> None:
    settings = settings_at(space, 0.02)
    *epochs, end = runs.epochs("run-002", settings)
    inner = {"task", "ranks", "full_rank", "excess"}
    names = {field.name for field in fields(EpochMetrics)} - inner
    names |= {"accuracy", "val_loss"}
    assert [event.event for event in epochs] == ["epoch_finished"] * 30
    assert all(isinstance(e, EpochFinished) and set(e.metrics) == names for e in epochs)
    assert all(isinstance(e, EpochFinished) and len(e.thresholds) == 6 for e in epochs)
    assert isinstance(end, RunFinished)
    zeros = sum(layer.zeros for layer in end.layers)
    assert zeros / runs.problem.weights == pytest.approx(end.metrics["sparsity"], abs=1e-4)
    assert end.metrics["epoch"] == 30


def test_a_fork_writes_the_rest(runs: SimulatedRuns, space: LawSpace) -> None:
    fork = Fork(folder="runs/run-001/10", epoch=space.onset)
    whole, rest = (
        [event.model_dump(exclude={"time"}) for event in runs.epochs("run-002", settings)]
        for settings in (settings_at(space, 0.02), settings_at(space, 0.02, fork=fork))
    )
    assert rest == whole[space.onset :]


def test_the_shared_epochs_end_with_a_prefix(runs: SimulatedRuns, space: LawSpace) -> None:
    *epochs, prefix, _ = runs.epochs("run-001", space.dense(is_whole=False))
    assert [e.metrics["sparsity"] for e in epochs if isinstance(e, EpochFinished)] == [0.0] * 10
    assert isinstance(prefix, PrefixTrained)
    assert prefix.epoch == space.onset == 10


def test_runs_scatter_but_each_is_itself_and_survives_shipping(
    runs: SimulatedRuns, space: LawSpace
) -> None:
    noisy, settings = replace(runs, noise=0.05), settings_at(space, 0.02)
    shipped = pickle.loads(pickle.dumps(noisy))
    names = [f"run-{number:03d}" for number in range(20)]
    ends = [end_of(shipped, settings, name) for name in names]
    assert ends == [end_of(noisy, settings, name) for name in names]
    assert len(set(ends)) == 20


def test_the_first_and_the_last_tenth_by_hand() -> None:
    watch = Stopwatch()
    known, took = [0, 1, 2, 50, 95, 99, 100], [1.0, 2.0, 9.0, 50.0, 3.0, 5.0, 4.0]
    watch.took = [*zip(known, took, strict=True)]
    assert (watch.median(0, 10), watch.median(90, 100)) == (2.0, 4.0)
    assert math.isnan(watch.median(3, 49))
    assert str(watch) == (
        "2.0 ms of CPU in the first tenth of runs, 4.0 ms with 100 runs, at most 50 ms (7 times)"
    )
    assert watch.measured(101, lambda: "decided") == "decided"
    assert watch.took[-1][0] == 101
    assert 0 <= watch.took[-1][1] < 50

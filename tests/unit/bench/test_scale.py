"""Simulated runs write what workers write; the stopwatch sorts by the number of runs."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from strsweep.bench.scale import Stopwatch, simulated_sweep, summarized
from strsweep.bench.scale_runs import SimulatedRuns
from strsweep.config import RunSettings
from strsweep.journal import EpochFinished, RunFinished
from strsweep.training.run import EpochMetrics

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
SETTINGS = RunSettings(threshold_init=-10, weight_decay=1e-2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> SimulatedRuns:
    folder = tmp_path_factory.mktemp("scale")
    return simulated_sweep(DIGITS, trials=20, targets=3, noise=0.05, results=folder)


def test_the_targets_are_spread_evenly(runs: SimulatedRuns) -> None:
    assert [target.pruned(1) for target in runs.experiment.search.targets] == [0.5, 0.745, 0.99]


def test_the_events_are_those_of_a_worker(runs: SimulatedRuns) -> None:
    *epochs, end = runs.epochs("run-001", SETTINGS)
    assert len(epochs) == runs.experiment.training.epochs
    names = {field.name for field in fields(EpochMetrics)}
    assert all(isinstance(e, EpochFinished) and set(e.metrics) == names for e in epochs)
    assert isinstance(end, RunFinished)
    assert end.metrics["sparsity"] == pytest.approx(runs.final("run-001", SETTINGS))
    zeros = sum(layer.zeros for layer in end.layers)
    assert zeros / runs.problem.weights == pytest.approx(end.metrics["sparsity"], abs=1e-4)


def test_a_resumed_run_writes_the_rest(runs: SimulatedRuns) -> None:
    whole = [event.model_dump(exclude={"time"}) for event in runs.epochs("run-001", SETTINGS)]
    rest = runs.epochs("run-001", SETTINGS, done=10)
    assert [event.model_dump(exclude={"time"}) for event in rest] == whole[10:]


def test_runs_scatter_but_each_is_itself_and_survives_shipping(runs: SimulatedRuns) -> None:
    shipped = SimulatedRuns.model_validate_json(runs.model_dump_json())
    ends = [shipped.final(f"run-{number:03d}", SETTINGS) for number in range(20)]
    assert ends == [runs.final(f"run-{number:03d}", SETTINGS) for number in range(20)]
    assert len(set(ends)) == 20
    more = RunSettings(threshold_init=-10, weight_decay=2e-2)
    assert runs.final("run-001", more) > runs.final("run-001", SETTINGS)


def test_the_first_and_the_last_tenth_by_hand() -> None:
    watch = Stopwatch("x", runs=[0, 1, 2, 50, 95, 99], seconds=[0.1, 0.2, 0.9, 5.0, 0.3, 0.5])
    made = summarized(watch, 100)
    assert (made.early_ms, made.late_ms, made.longest_ms) == pytest.approx((200, 400, 5000))
    assert made.count == 6

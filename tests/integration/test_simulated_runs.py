"""What a real Tune makes of runs that are slow to leave, or fail: their training is simulated."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from benchmarks import scale
from benchmarks.scale import DIGITS, SimulatedRuns, simulated_runs, sweep
from ray import cloudpickle, tune

from strsweep.journal import Journal, RunFailed, RunStopped, SweepStarted, replay
from strsweep.storage import storage_of
from strsweep.sweep.run import tune_config
from strsweep.sweep.searcher import TargetSearcher

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, in this process
]

STOPPED, LEAVES_AFTER_S = "run-002", 5
"""The first run trains what others share. Tune itself waits two seconds for a trial to leave."""


@pytest.fixture(scope="module")
def a_ray() -> Iterator[None]:
    cloudpickle.register_pickle_by_value(scale)  # benchmarks are not on the path of Ray's workers
    ray.init("local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()
    cloudpickle.unregister_pickle_by_value(scale)


class StopsTheSecond(TargetSearcher):
    """Ends one run with its first checkpoint, and no other."""

    def stops(self, run_id: str, epoch: int) -> bool:
        if run_id == STOPPED:
            self._journal.append(RunStopped(run_id=run_id, epoch=epoch, reason="to see it leave"))
        return run_id == STOPPED


def simulated(folder: Path, *, trials: int) -> SimulatedRuns:
    return simulated_runs(DIGITS, trials=trials, targets=2, noise=0.0, results=folder)


def started(runs: SimulatedRuns) -> Journal:
    journal = Journal(storage_of(runs.experiment))
    dumped = runs.experiment.model_dump(mode="json")
    journal.append(SweepStarted(experiment=dumped, version="simulated", problem=runs.problem))
    return journal


def fit(trial: Callable[[dict[str, Any]], None], searcher: TargetSearcher, folder: Path) -> None:
    tune.Tuner(
        tune.with_resources(trial, {"memory": 1.0}),
        tune_config=tune_config(searcher),
        run_config=tune.RunConfig(name="tune", storage_path=str(folder), verbose=0),
    ).fit()


def test_the_next_run_starts_though_the_stopped_one_is_slow_to_leave(
    a_ray: None, tmp_path: Path
) -> None:
    runs = simulated(tmp_path, trials=4)
    journal = started(runs)

    def trial(config: dict[str, Any]) -> None:
        try:
            runs.train(config)
        finally:
            time.sleep(LEAVES_AFTER_S if config["run_id"] == STOPPED else 0)

    fit(trial, StopsTheSecond(runs.experiment, journal, lambda: 1), tmp_path)
    record = replay(journal.read())
    assert record.runs[STOPPED].stopped is not None
    assert [run.run_id for run in record.finished_runs] == ["run-001", "run-003", "run-004"]


def test_a_sweep_whose_runs_all_fail_stops(a_ray: None, tmp_path: Path) -> None:
    runs = simulated(tmp_path, trials=20)
    journal, storage = started(runs), storage_of(runs.experiment)

    def trial(config: dict[str, Any]) -> None:
        failed = RunFailed(run_id=config["run_id"], reason="lower training.learning_rate")
        Journal(storage, writer=failed.run_id).append(failed)

    searcher = TargetSearcher(runs.experiment, journal, lambda: 2)
    fit(trial, searcher, tmp_path)
    assert re.search(r"the last \d runs failed; .*: lower training", str(searcher.failure))
    assert len(replay(journal.read()).runs) <= 4


def test_the_benchmark_tells_what_a_sweep_cost(a_ray: None, tmp_path: Path) -> None:
    cost = dict(sweep(simulated(tmp_path, trials=8), tmp_path))
    assert cost["runs"].startswith("8; every target is hit; search.max_runs (8)")
    assert cost["targets hit"].startswith("2 of 2 by ")
    assert "with 8 runs" in cost["which run next"]
    for name in ("sweep", "driving process", "its memory", "journal", "to MLflow (sqlite)"):
        assert float(re.findall(r"[\d.]+", cost[name])[0]) > 0

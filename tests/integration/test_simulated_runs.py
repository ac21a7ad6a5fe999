"""What a real Tune makes of runs that are slow to leave, or fail: their training is simulated."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune

from strsweep.bench.scale import simulated_sweep
from strsweep.bench.scale_runs import SimulatedRuns
from strsweep.config import RunSettings
from strsweep.journal import Journal, RunFailed, RunStopped, SweepStarted, replay
from strsweep.storage import storage_of
from strsweep.sweep.run import tune_config
from strsweep.sweep.searcher import TargetSearcher

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, in this process
]

DIGITS = Path(__file__).parents[2] / "jobs/configs/digits.yaml"
STOPPED, LEAVES_AFTER_S = "run-001", 5
"""Tune itself waits two seconds for a trial to leave."""


@pytest.fixture(scope="module")
def a_ray() -> Iterator[None]:
    ray.init("local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


class StopsTheFirst(TargetSearcher):
    """Ends the first run with its first checkpoint, and no other."""

    def stops(self, run_id: str, epoch: int) -> bool:
        if run_id == STOPPED:
            self._journal.append(RunStopped(run_id=run_id, epoch=epoch, reason="to see it leave"))
        return run_id == STOPPED


def started(runs: SimulatedRuns) -> Journal:
    journal = Journal(storage_of(runs.experiment))
    dumped = runs.experiment.model_dump(mode="json")
    journal.append(SweepStarted(experiment=dumped, version="simulated", problem=runs.problem))
    return journal


def sweep(trial: Callable[[dict[str, Any]], None], searcher: TargetSearcher, folder: Path) -> None:
    tune.Tuner(
        tune.with_resources(trial, {"memory": 1.0}),
        tune_config=tune_config(searcher),
        run_config=tune.RunConfig(name="tune", storage_path=str(folder), verbose=0),
    ).fit()


def test_the_next_run_starts_though_the_stopped_one_is_slow_to_leave(
    a_ray: None, tmp_path: Path
) -> None:
    runs = simulated_sweep(DIGITS, trials=3, targets=2, noise=0.0, results=tmp_path)
    journal = started(runs)

    def trial(config: dict[str, Any]) -> None:
        settings = RunSettings.model_validate({k: config[k] for k in RunSettings.model_fields})
        try:
            runs.train(config["run_id"], settings, tune.report)
        finally:
            time.sleep(LEAVES_AFTER_S if config["run_id"] == STOPPED else 0)

    sweep(trial, StopsTheFirst(runs.experiment, journal, lambda: 1), tmp_path)
    record = replay(journal.read())
    assert record.runs[STOPPED].stopped is not None
    assert [run.run_id for run in record.finished_runs] == ["run-002", "run-003"]


def test_a_sweep_whose_runs_all_fail_stops(a_ray: None, tmp_path: Path) -> None:
    runs = simulated_sweep(DIGITS, trials=20, targets=2, noise=0.0, results=tmp_path)
    journal, storage = started(runs), storage_of(runs.experiment)

    def trial(config: dict[str, Any]) -> None:
        failed = RunFailed(run_id=config["run_id"], reason="lower training.learning_rate")
        Journal(storage, writer=failed.run_id).append(failed)

    searcher = TargetSearcher(runs.experiment, journal, lambda: 2)
    sweep(trial, searcher, tmp_path)
    assert re.search(r"the last \d runs failed; .*: lower training", str(searcher.failure))
    assert len(replay(journal.read()).runs) <= 4

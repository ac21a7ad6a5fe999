"""What a real Tune makes of many runs, and of those that fail: their training is simulated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from benchmarks import scale
from benchmarks.scale import DIGITS, SimulatedRuns, SimulatedTrial, simulated_runs, sweep
from ray import tune

from strsweep.cluster.run import tune_config
from strsweep.cluster.searcher import EarlyStop, TargetSearcher
from strsweep.journal import Journal, RunFailed, SweepStarted, replay
from strsweep.storage import storage_of

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore"),  # Ray's own, in this process
]


@pytest.fixture(scope="module")
def a_ray() -> Iterator[None]:
    benchmarks = {"env_vars": {"PYTHONPATH": str(Path(scale.__file__).parents[1])}}
    ray.init(
        "local", num_cpus=2, log_to_driver=False, include_dashboard=False, runtime_env=benchmarks
    )
    yield
    ray.shutdown()


def simulated(folder: Path, *, trials: int) -> SimulatedRuns:
    return simulated_runs(DIGITS, trials=trials, targets=2, noise=0.0, results=folder)


def started(runs: SimulatedRuns) -> Journal:
    journal = Journal(storage_of(runs.experiment))
    dumped = runs.experiment.model_dump(mode="json")
    journal.append(SweepStarted(experiment=dumped, version="simulated", problem=runs.problem))
    return journal


def test_a_sweep_whose_runs_all_fail_stops(a_ray: None, tmp_path: Path) -> None:
    class FailingTrial(SimulatedTrial):
        """Follows runs that say why they fail, before their first epoch."""

        def step(self) -> dict[str, Any]:
            assert self._runs is not None
            failed = RunFailed(run_id=self.config["run_id"], reason="lower training.learning_rate")
            Journal(storage_of(self._runs.experiment), writer=failed.run_id).append(failed)
            return {"done": True}

    runs = simulated(tmp_path, trials=20)
    journal = started(runs)
    searcher = TargetSearcher(runs.experiment, journal, lambda: 2)
    trial: Any = tune.with_parameters(FailingTrial, runs=runs)
    tune.Tuner(
        tune.with_resources(trial, {"memory": 1.0}),
        tune_config=tune_config(EarlyStop(searcher)),
        run_config=tune.RunConfig(name="tune", storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert re.search(r"the last \d runs failed; .*: lower training", str(searcher.failure))
    assert len(replay(journal.read()).runs) <= 4


def test_the_benchmark_tells_what_a_sweep_cost(a_ray: None, tmp_path: Path) -> None:
    cost = dict(sweep(simulated(tmp_path, trials=8), tmp_path))
    assert cost["runs"].startswith("8; every target is hit; search.max_runs (8)")
    assert cost["targets hit"].startswith("2 of 2 by ")
    assert "with 8 runs" in cost["which run next"]
    for name in ("sweep", "driving process", "its memory", "journal", "to MLflow (sqlite)"):
        assert float(re.findall(r"[\d.]+", cost[name])[0]) > 0

"""Lanes on a real Ray: a used one gives what a fresh one gives, and a stopped job leaves order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import ray
import samples
from equal_runs import assert_same_state
from local_ray import Jobs
from mlflow import MlflowClient

from strsweep.cluster.connection import sweep_desk
from strsweep.cluster.lanes import Lanes
from strsweep.config import Experiment
from strsweep.journal import Journal, RunFailed, RunInterrupted
from strsweep.settings import RunSettings
from strsweep.storage import storage_of
from strsweep.training.checkpoints import load_checkpoint
from strsweep.training.desk import Told, Train

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]

SETTINGS = RunSettings(threshold_init=-6.0, weight_decay=5e-4, threshold_decay=0.05)
EPOCHS = 3


@pytest.fixture
def local_ray() -> Iterator[None]:
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def followed(lanes: Lanes, work: Train) -> list[Told]:
    """Let the lanes train a run; returns all that was told of it."""
    lanes.do(work)
    told = [Told(0)]
    while not told[-1].is_over:
        told.append(ray.get(lanes.follow(work, told[-1].number)))
    return told[1:]


def in_one_lane(experiment: Experiment, works: Sequence[Train], armed: Path) -> list[list[Told]]:
    """Let one lane train run after run; before the one named ``oom`` memory gets scarce."""
    found: list[list[Told]] = []
    with sweep_desk(experiment.sweep_id) as desk, Lanes(experiment, desk) as lanes:
        for work in works:
            if work.run_id == "oom":
                armed.touch()
            found.append(followed(lanes, work))
    return found


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_run_in_a_used_lane_equals_one_in_a_fresh_lane(
    local_ray: None, tmp_path: Path, workers: int
) -> None:
    options = {"armed": f"{tmp_path}/armed", "fault": "out_of_memory_once"}
    experiment = samples.load(
        f"storage.path={tmp_path}",
        f"training.epochs={EPOCHS}",
        "training.batch_size=100",
        f"model={{name: 'tests.integration.faulty_models:armed', options: {options}}}",
        f"workers.count={workers}",
    )
    diverging = SETTINGS.model_copy(update={"weight_decay": 1e9})
    used = [Train("diverged", diverging), Train("oom", SETTINGS), Train("used", SETTINGS)]
    Journal(storage_of(experiment)).append(samples.started())
    told = in_one_lane(experiment, used, tmp_path / "armed")
    [fresh] = in_one_lane(experiment, [Train("fresh", SETTINGS)], tmp_path / "armed")

    storage = storage_of(experiment)
    events = Journal(storage).read()
    [failed] = [event for event in events if isinstance(event, RunFailed)]
    assert (failed.run_id, failed.reason.split(":")[0]) == ("diverged", "TrainingDivergedError")
    interruptions = [event for event in events if isinstance(event, RunInterrupted)]
    assert {event.run_id for event in interruptions} == {"oom"}
    if workers == 1:  # of two, the other one only sees that its partner is gone
        assert "can't allocate memory" in interruptions[0].reason
    expected = load_checkpoint(storage, f"runs/fresh/epoch_{EPOCHS:05d}")
    for run_id in ("oom", "used"):
        assert_same_state(load_checkpoint(storage, f"runs/{run_id}/epoch_{EPOCHS:05d}"), expected)
    counts = [len(each) for each in (*told, fresh)]
    assert counts[1:] == [counts[-1]] * 3
    assert all(each[-1].failure is None for each in told)


@pytest.mark.long  # it looks at the clock
def test_a_job_that_is_stopped_says_how_to_continue_and_shows_its_runs_as_killed(
    jobs: Jobs,
) -> None:
    overrides = ["training.epochs=2000", "training.checkpoint_every=1", "search.targets=[0.9]"]
    job, deadline = jobs.start("sweep", overrides), time.monotonic() + 300
    while not statuses(jobs.client):
        assert job.poll() is None, job.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.5)
    job.terminate()
    struck = time.monotonic()
    said, _ = job.communicate(timeout=60)
    assert time.monotonic() - struck < 3, "then Ray would kill it"
    assert job.returncode == 1
    assert (
        said.splitlines()[-1] == "stopped: the same command continues from the newest checkpoints"
    )
    assert statuses(jobs.client) == {"sweep": "KILLED", "run-001": "KILLED"}
    assert jobs.only_run(overrides).is_open


def statuses(client: MlflowClient) -> dict[str, str]:
    """Return the state of the runs of a sweep once one of them is there."""
    found = client.get_experiment_by_name("digits")
    runs = client.search_runs([found.experiment_id]) if found is not None else []
    shown = {run.data.tags["strsweep.run_id"]: run.info.status for run in runs}
    return shown if "run-001" in shown else {}

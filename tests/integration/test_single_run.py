"""Single runs on a real Ray: workers, a server that is away, a run that fails, a missed target."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

import pytest
from local_ray import Jobs

pytestmark = pytest.mark.ray

SHORT = [
    "training.epochs=3",
    "training.batch_size=100",
    "search.threshold_decay=1.2e-2",
    "search.share_prefix=false",
]
"""Thresholds act from the first step on."""

AWAY = "tracking.uri=http://127.0.0.1:9"


@dataclass(frozen=True)
class Trained:
    jobs: Jobs
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def alone(ray_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run with one worker, whose MLflow server is away."""
    jobs = Jobs(ray_environment, tmp_path_factory.mktemp("alone"))
    return Trained(jobs, jobs.run("train", [*SHORT, AWAY]))


def test_two_ray_workers_equal_one(jobs: Jobs, alone: Trained) -> None:
    overrides = [*SHORT, "workers.count=2"]
    jobs.said("train", overrides)
    runs = alone.jobs.only_run(SHORT), jobs.only_run(overrides)
    # Sums in another order differ in the last bit, and training doubles such a difference every few
    # steps: the first epoch is compared here, single steps to 1e-5 in tests/distributed.
    one, two = (run.epochs[1].metrics for run in runs)
    assert two["train_loss"] == pytest.approx(one["train_loss"], abs=1e-4)
    assert two["accuracy"] == pytest.approx(one["accuracy"], abs=1.5 / 397)
    assert [run.num_epochs_trained for run in runs] == [3, 3]


def test_mlflow_away_costs_no_training(alone: Trained) -> None:
    assert alone.done.returncode == 1
    assert "cannot be reached; the journal keeps everything" in alone.done.stdout
    assert "run `strsweep publish` with the same settings" in alone.done.stdout
    assert "digits v1" in alone.jobs.said("train", SHORT)
    assert alone.jobs.only_run(SHORT).num_epochs_trained == 3


@pytest.mark.long
def test_a_run_that_diverges_is_told_and_not_retried(jobs: Jobs) -> None:
    overrides = [*SHORT, "training.learning_rate=1e20"]
    done = jobs.run("train", overrides)
    assert done.returncode == 1
    assert "lower training.learning_rate" in done.stdout + done.stderr
    assert jobs.only_run(overrides).failed is not None


@pytest.mark.long
def test_a_missed_target_says_by_how_much_and_what_to_change(jobs: Jobs) -> None:
    overrides = ["training.epochs=1", "search.targets=[0.9]", "search.max_runs=1"]
    done = jobs.run("sweep", [*overrides, "search.share_prefix=false"])
    assert done.returncode == 1
    assert "90 % missed by " in done.stdout
    assert "raise search.max_runs above 1" in done.stdout.partition("missed by")[2]

"""Single runs on a real Ray: workers, a server that is away, a run that fails, a missed target."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from strsweep.config import Experiment, load_experiment
from strsweep.journal import Journal, RunRecord, replay
from strsweep.storage import storage_of

Job = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = pytest.mark.ray

DIGITS = "jobs/configs/digits.yaml"
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
    results: Path
    job: Job
    """With these results."""
    done: subprocess.CompletedProcess[str]


def arguments(overrides: list[str]) -> list[str]:
    return ["--config", DIGITS, *(part for text in overrides for part in ("--set", text))]


def only_run(results: Path, overrides: list[str]) -> RunRecord:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STRSWEEP_RESULTS", str(results))
        experiment: Experiment = load_experiment(Path(DIGITS), overrides)
    (run,) = replay(Journal(storage_of(experiment)).read()).runs.values()
    return run


@pytest.fixture(scope="module")
def alone(job_in: Callable[[Path], Job], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run with one worker, whose MLflow server is away."""
    results = tmp_path_factory.mktemp("alone")
    job = job_in(results)
    return Trained(results, job, job("train", *arguments([*SHORT, AWAY])))


def test_two_ray_workers_equal_one(job: Job, results: Path, alone: Trained) -> None:
    overrides = [*SHORT, "workers.count=2"]
    done = job("train", *arguments(overrides))
    assert done.returncode == 0, done.stderr
    runs = only_run(alone.results, SHORT), only_run(results, overrides)
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
    again = alone.job("train", *arguments(SHORT))
    assert again.returncode == 0, again.stderr
    assert "digits v1" in again.stdout
    assert only_run(alone.results, SHORT).num_epochs_trained == 3


@pytest.mark.long
def test_a_run_that_diverges_is_told_and_not_retried(job: Job, results: Path) -> None:
    overrides = [*SHORT, "training.learning_rate=1e20"]
    done = job("train", *arguments(overrides))
    assert done.returncode == 1
    assert "lower training.learning_rate" in done.stdout + done.stderr
    assert only_run(results, overrides).failed is not None


@pytest.mark.long
def test_a_missed_target_says_by_how_much_and_what_to_change(job: Job) -> None:
    overrides = ["training.epochs=1", "search.targets=[0.9]", "search.max_runs=1"]
    overrides.append("search.share_prefix=false")
    done = job("sweep", *arguments(overrides))
    assert done.returncode == 1
    assert "90 % missed by " in done.stdout
    assert "raise search.max_runs above 1" in done.stdout.partition("missed by")[2]

"""Whole sweeps by ``ray job submit`` on PostgreSQL and S3, undisturbed and with both failing."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from local_ray import running_ray
from mlflow_service import Service, Shown, shown

from strsweep.config import Experiment, load_experiment
from strsweep.journal import Journal, SweepRecord, replay
from strsweep.storage import SweepStorage

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
DIGITS = "jobs/configs/digits.yaml"
AWAY_S = float(os.environ.get("STRSWEEP_TEST_AWAY_S", "60"))
EPOCHS, EVERY = 60, 5


@dataclass
class Submitted:
    """A sweep that is submitted to a Ray of its own, which has an empty folder to start in."""

    experiment: Experiment
    overrides: list[str]
    environment: dict[str, str]

    def submit(self, job: str) -> subprocess.Popen[str]:
        """Start ``jobs/NAME.py`` on the cluster."""
        settings = [part for text in self.overrides for part in ("--set", text)]
        command = ("python", f"jobs/{job}.py", "--config", DIGITS, *settings)
        return subprocess.Popen(
            ["ray", "job", "submit", "--working-dir", ".", "--", *command],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def record(self) -> SweepRecord:
        return replay(Journal(SweepStorage.of(self.experiment)).read())

    def until(self, process: subprocess.Popen[str], ready: Callable[[SweepRecord], bool]) -> None:
        """Wait for the journal to tell something."""
        while not ready(self.record):
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.3)


def said(process: subprocess.Popen[str], code: int = 0) -> str:
    """Return what a job said until its end."""
    text, _ = process.communicate(timeout=900)
    assert process.returncode == code, text
    return text


@contextmanager
def cluster(service: Service, home: Path) -> Generator[dict[str, str]]:
    """A fresh Ray whose nodes know the service; its jobs find nothing on disk."""
    results = {"STRSWEEP_RESULTS": str(home / "results")}
    with running_ray(home, {**service.environment, **results}) as environment:
        yield environment


def told(service: Service, name: str, *overrides: str) -> tuple[Experiment, list[str]]:
    settings = [
        f"name={name}",
        "storage.path=s3://mlflow/sweeps",
        f"tracking.uri={service.uri}",
        f"training.checkpoint_every={EVERY}",
        *overrides,
    ]
    return load_experiment(ROOT / DIGITS, settings), settings


STEERED = (
    "sparsity.mode=steered",
    "search.weight_decay=5e-4",
    "search.targets=[0.9, 0.95]",
    f"training.epochs={EPOCHS}",
)
"""One run per target, the same whenever it is trained: what faults change would show."""


@pytest.fixture(scope="module")
def undisturbed(
    service: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Submitted, Shown]]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in service.environment.items():
            patch.setenv(name, value)
        with cluster(service, tmp_path_factory.mktemp("undisturbed")) as environment:
            sweep = Submitted(*told(service, "undisturbed", *STEERED), environment)
            said(sweep.submit("sweep"))
            yield sweep, shown(service, sweep.experiment)


def assert_same(one: Shown, other: Shown) -> None:
    """Everything but ids and times is the same, and nothing is there twice."""
    assert one.versions == other.versions
    assert one.statuses == other.statuses
    assert one.steps == other.steps
    assert one.aliases == other.aliases
    assert one.logged_models == other.logged_models
    assert one.outputs == other.outputs
    assert one.files == other.files


def test_mlflow_away_for_the_whole_sweep_and_storage_in_its_middle(
    service: Service, undisturbed: tuple[Submitted, Shown]
) -> None:
    expected, other = undisturbed
    sweep = Submitted(*told(service, "disturbed", *STEERED), expected.environment)
    service.kill_mlflow()
    job = sweep.submit("sweep")
    sweep.until(job, lambda record: any(len(run.epochs) > EVERY for run in record.runs.values()))
    service.s3.crash()
    time.sleep(AWAY_S)
    service.s3.start()
    text = said(job, code=1)
    assert "run jobs/publish.py with the same settings when it answers" in text
    record = sweep.record
    assert record.epochs_trained == 2 * EPOCHS, "no epoch was lost, and none trained twice"
    service.start()
    assert "disturbed v2" in said(sweep.submit("publish"))
    assert_same(shown(service, sweep.experiment), other)


def test_storage_away_while_models_are_published(
    service: Service, undisturbed: tuple[Submitted, Shown]
) -> None:
    expected, other = undisturbed
    sweep = Submitted(*told(service, "unpublished", *STEERED), expected.environment)
    job = sweep.submit("sweep")
    sweep.until(job, lambda record: bool(record.published))
    service.s3.crash()  # storage of the sweep and of MLflow's artifacts
    time.sleep(AWAY_S)
    service.s3.start()
    said(job)
    assert_same(shown(service, sweep.experiment), other)


def test_database_restarts_while_the_sweep_runs(
    service: Service, undisturbed: tuple[Submitted, Shown]
) -> None:
    expected, other = undisturbed
    sweep = Submitted(*told(service, "restarted-database", *STEERED), expected.environment)
    job = sweep.submit("sweep")
    sweep.until(job, lambda record: any(run.epochs for run in record.runs.values()))
    service.stop("postgres")
    time.sleep(5)
    service.start()
    said(job)
    assert_same(shown(service, sweep.experiment), other)


def test_a_fresh_cluster_continues_from_object_storage_alone(
    service: Service, tmp_path: Path
) -> None:
    """The sweep of the quickstart: its cluster dies as a whole, and another one ends it."""
    experiment, settings = told(service, "elsewhere")
    with cluster(service, tmp_path / "first") as environment:
        first = Submitted(experiment, settings, environment)
        job = first.submit("sweep")
        first.until(job, lambda record: len(record.finished_runs) >= 2)
    job.communicate(timeout=120)
    before = first.record
    with cluster(service, tmp_path / "second") as environment:
        second = Submitted(experiment, settings, environment)
        said(second.submit("sweep"))
        again = said(second.submit("sweep"))
    assert "search ended: every target is hit" in again
    record, result = second.record, shown(service, experiment)
    for run in before.finished_runs:
        assert record.runs[run.run_id].num_epochs_trained == experiment.training.epochs
    assert set(record.published) == set(experiment.search.targets)
    assert len(result.versions) == len(result.logged_models) == len(experiment.search.targets)
    assert sorted(result.statuses) == sorted(["", *record.runs])
    for run_id, run in record.runs.items():
        assert result.steps[run_id]["sparsity"] == sorted(run.epochs)
        assert len(result.statuses[run_id]) == 1

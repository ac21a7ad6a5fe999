"""Whole sweeps by ``ray job submit`` on PostgreSQL and S3, undisturbed and with both failing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow_service import Service, Shown, shown
from submitted_sweep import EPOCHS, EVERY, STEERED, Submitted, cluster, said, told

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1200)]

AWAY_S = float(os.environ.get("STRSWEEP_TEST_AWAY_S", "60"))


@pytest.fixture(scope="module")
def undisturbed(
    service: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Submitted, Shown]]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in service.environment.items():
            patch.setenv(name, value)
        with cluster(service, tmp_path_factory.mktemp("undisturbed")) as environment:
            sweep = Submitted(*told(service, "whole-undisturbed", *STEERED), environment)
            said(sweep.submit("sweep"))
            yield sweep, shown(service, sweep.experiment)


@pytest.fixture(autouse=True)
def whole_service(service: Service) -> None:
    """All parts run, whatever the test before left."""
    service.start()


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
    assert "run `strsweep publish` with the same settings when it answers" in text
    record = sweep.record
    assert record.epochs_trained == 2 * EPOCHS, "no epoch was lost, and none trained twice"
    service.start()
    assert "disturbed v2" in said(sweep.submit("publish"))
    assert shown(service, sweep.experiment) == other


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
    assert shown(service, sweep.experiment) == other


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
    assert shown(service, sweep.experiment) == other


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
    shared, epochs = 10, experiment.training.epochs
    for run in before.finished_runs:
        own = shared if run.settings.is_dense else epochs - shared
        assert record.runs[run.run_id].num_epochs_trained == own
    assert set(record.published) == set(experiment.search.targets)
    assert len(result.versions) == len(result.logged_models) == len(experiment.search.targets)
    assert sorted(result.statuses) == sorted(["sweep", *record.runs])
    for run_id, run in record.runs.items():
        assert result.steps[run_id]["epoch"] == sorted(run.epochs)
        assert len(result.statuses[run_id]) == 1

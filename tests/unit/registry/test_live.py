"""Models are registered while the sweep goes on: once, replaced by better ones, without harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from recorded_sweep import RecordedSweep, experiment_of

from strsweep.registry import LiveDelivery, Tracking, publish_sweep
from strsweep.registry.publish import Publisher
from strsweep.settings import Target
from strsweep.training.landing import land_one

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default:.*noload.*")]
HALF = Target(sparsity=0.5)


@pytest.fixture
def sweep(tmp_path: Path) -> RecordedSweep:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    sweep = RecordedSweep(experiment_of(tmp_path, uri, "live", "search.tolerance=0.08"))
    sweep.start()
    return sweep


def hit(sweep: RecordedSweep, run_id: str, accuracy: float) -> None:
    """Finish a run that hits the target; it is not landed yet."""
    sweep.run(run_id, seed=int(run_id[-1]), accuracy=accuracy)


def land(sweep: RecordedSweep, run_id: str, accuracy: float) -> None:
    landed = land_one(sweep.experiment, sweep.storage, sweep.record.runs[run_id], HALF)
    metrics = {**landed.metrics, "accuracy": accuracy}
    sweep.journal.append(landed.model_copy(update={"metrics": metrics}))


def published(sweep: RecordedSweep) -> tuple[list[str], str]:
    """Return the runs of all versions, in their order, and the version that the alias is at."""
    uri = sweep.experiment.tracking.uri
    client = MlflowClient(uri, uri)
    versions = client.search_model_versions(f"name = '{sweep.experiment.model_name}'")
    ordered = sorted(versions, key=lambda version: int(version.version))
    runs = [client.get_run(str(v.run_id)).data.tags["strsweep.run_id"] for v in ordered]
    aliases = client.get_registered_model(sweep.experiment.model_name).aliases
    return runs, str(aliases["sparsity-50"])


def fronts(tracking: Tracking) -> list[str]:
    files = tracking.client.list_artifacts(tracking.mlflow_id(None), "images")
    return [file.path for file in files if file.path.endswith(".png")]


def test_a_model_is_registered_once_it_has_landed_and_gives_way_to_a_better_one(
    sweep: RecordedSweep,
) -> None:
    tracking = Tracking(sweep.experiment)
    live = LiveDelivery(sweep.experiment, tracking)
    hit(sweep, "run-001", 0.8)
    live(tracking.deliver())
    assert not sweep.record.published  # it has not landed
    land(sweep, "run-001", 0.8)
    for _ in range(2):
        live(tracking.deliver())
    assert published(sweep) == (["run-001"], "1")
    tracking.deliver()
    run = tracking.client.get_run(tracking.mlflow_id("run-001"))
    assert run.data.tags["mlflow.runName"] == "run-001 · 50 % · 80.0 %"
    assert run.data.tags["state"] == "delivered: 50 %"
    page = tracking.client.get_run(tracking.mlflow_id(None))
    assert "live v1" in page.data.tags["mlflow.note.content"]
    assert page.info.status == "RUNNING"
    assert len(fronts(tracking)) == 1

    hit(sweep, "run-002", 0.9)
    land(sweep, "run-002", 0.9)
    live(tracking.deliver())
    assert published(sweep) == (["run-001", "run-002"], "2")
    for _ in range(2):
        assert publish_sweep(sweep.experiment, tracking).is_complete
    assert len(fronts(tracking)) == 2, "one for each time that another model was published"
    assert published(sweep) == (["run-001", "run-002"], "2")
    first = tracking.client.get_run(tracking.mlflow_id("run-001"))
    assert first.data.tags["state"] == "landed: 50 %"
    assert tracking.client.get_run(tracking.mlflow_id(None)).info.status == "FINISHED"


def test_what_fails_is_reported_once_and_left_to_the_end(
    sweep: RecordedSweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError("the memory is full")

    tracking = Tracking(sweep.experiment)
    live = LiveDelivery(sweep.experiment, tracking)
    hit(sweep, "run-001", 0.8)
    land(sweep, "run-001", 0.8)
    monkeypatch.setattr("strsweep.registry.live._RETRY_S", 0.0)
    with monkeypatch.context() as patched:
        patched.setattr(Publisher, "packaged", full)
        for _ in range(3):
            live(tracking.deliver())
    assert capsys.readouterr().out.count("the memory is full") == 1
    assert publish_sweep(sweep.experiment, tracking).is_complete
    assert published(sweep) == (["run-001"], "1")

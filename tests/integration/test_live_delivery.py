"""Models are landed and registered while their sweep still trains, and replaced by better ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from strsweep.config import load_experiment
from strsweep.journal import EpochFinished, Journal, ModelLanded, ModelPublished, replay
from strsweep.settings import Target
from strsweep.storage import storage_of

pytestmark = [
    pytest.mark.ray,
    pytest.mark.long,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore"),  # MLflow's own calls to SQLAlchemy
]

TARGETS = (0.9, 0.95, 0.98, 0.99)
OVERRIDES = [
    f"search.targets={list(TARGETS)}",
    "search.max_concurrent=1",
    "training.epochs=120",
]


def test_the_first_model_is_registered_before_the_last_run_begins(
    job: Any, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [part for text in OVERRIDES for part in ("--set", text)]
    done = job("sweep", "--config", "jobs/configs/digits.yaml", *settings, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.setenv("STRSWEEP_RESULTS", str(results))
    experiment = load_experiment(Path("jobs/configs/digits.yaml"), OVERRIDES)
    events = Journal(storage_of(experiment)).read()
    record = replay(events)
    published = [event for event in events if isinstance(event, ModelPublished)]
    landed = [event for event in events if isinstance(event, ModelLanded)]
    last = record.runs[max(record.runs)]
    began = min(event.time for event in events if is_epoch_of(event, last.run_id))
    first = min(published, key=lambda event: event.time)
    assert first.time < last.proposed.time <= began
    assert len(published) == len(TARGETS), "none is registered twice"
    assert len({event.target for event in landed}) == len(landed), "none is landed twice"
    assert {event.target for event in published} == {Target(sparsity=t) for t in TARGETS}
    for event in published:
        version = client_of(experiment).get_model_version("digits", event.version)
        assert event.target is not None
        assert version.tags["label"] == event.target.label
        assert len(version.tags) <= 6
        assert version.creation_timestamp <= event.time * 1000
    assert f"{first.target} is registered: digits v{first.version}" in done.stdout
    assert len(client_of(experiment).search_model_versions("name = 'digits'")) == len(TARGETS)


def is_epoch_of(event: Any, run_id: str) -> bool:
    return isinstance(event, EpochFinished) and event.run_id == run_id


def client_of(experiment: Any) -> MlflowClient:
    return MlflowClient(tracking_uri=experiment.tracking.uri, registry_uri=experiment.tracking.uri)

"""Runs whose journal, checkpoints and models are on a real S3 server, which crashes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from s3_server import S3Server, running_server
from samples import folders

from strsweep.config import StorageConfig
from strsweep.journal import Journal, RunRecord, replay
from strsweep.storage import Store, store_at
from strsweep.storage.object_store import ObjectStore

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore"),  # MLflow's own calls to SQLAlchemy
]

ROOT = Path(__file__).parents[2]
AWAY_S = float(os.environ.get("STRSWEEP_TEST_AWAY_S", "15"))
EPOCHS = 60
"""Ten seconds of training: they end while the storage is away."""


@dataclass
class Place:
    """Where one sweep is stored, and how its job is started."""

    path: str
    environment: dict[str, str]
    results: Path

    def start(self) -> subprocess.Popen[str]:
        """Start the job; MLflow's database is in the results folder, all else on S3."""
        overrides = [
            f"storage.path={self.path}",
            f"training.epochs={EPOCHS}",
            "search.threshold_decay=8e-3",
        ]
        arguments = [part for text in overrides for part in ("--set", text)]
        return subprocess.Popen(
            [sys.executable, "jobs/train.py", "--config", "jobs/configs/digits.yaml", *arguments],
            cwd=ROOT,
            env={**self.environment, "STRSWEEP_RESULTS": str(self.results)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def storage(self) -> Store:
        """Of the only sweep."""
        (sweep,) = folders(ObjectStore(self.path, StorageConfig()), "sweeps")
        return store_at(f"{self.path}/sweeps/{sweep}")

    def run(self) -> RunRecord | None:
        """Return the only run; None before it is proposed."""
        if not folders(ObjectStore(self.path, StorageConfig()), "sweeps"):
            return None
        return next(iter(replay(Journal(self.storage).read()).runs.values()), None)

    def receipt(self) -> dict[str, Any]:
        """Return the receipt of the model."""
        return json.loads(self.storage.read("models/single/run-001/receipt.json"))


def finished(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=500)
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_server(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture(scope="module")
def places(
    server: S3Server, ray_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Place]]:
    """The same run twice: left alone, and with the server away in the middle of training."""
    with pytest.MonkeyPatch.context() as patch:
        tell_nodes(server, ray_environment)
        for key in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(key, ray_environment[key])
        found = {
            name: Place(f"s3://sweeps/{name}", ray_environment, tmp_path_factory.mktemp(name))
            for name in ("undisturbed", "disturbed")
        }
        finished(found["undisturbed"].start())
        disturb(server, found["disturbed"])
        yield found


def tell_nodes(server: S3Server, environment: dict[str, str]) -> None:
    """Write address and credentials into AWS's own files, where jobs and workers look for them."""
    known = server.environment
    Path(environment["AWS_CONFIG_FILE"]).write_text(
        f"[default]\nregion = us-east-1\nendpoint_url = {server.endpoint}\n"
    )
    keys = Path(environment["AWS_SHARED_CREDENTIALS_FILE"])
    keys.touch(mode=0o600)
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    lines = [f"{name.lower()} = {known[name]}" for name in names]
    keys.write_text("\n".join(["[default]", *lines, ""]))


def disturb(server: S3Server, place: Place) -> None:
    process = place.start()
    while (run := place.run()) is None or len(run.epochs) < 5:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.2)
    server.crash()
    time.sleep(AWAY_S)
    assert process.poll() is None, process.communicate()[0]
    server.start()
    finished(process)


def test_an_outage_in_training_changes_no_weight(places: dict[str, Place]) -> None:
    one, other = places["undisturbed"].receipt(), places["disturbed"].receipt()
    assert one["weights_sha256"] == other["weights_sha256"]
    assert one["zeros"] == other["zeros"]


def test_an_outage_costs_no_epoch(places: dict[str, Place]) -> None:
    run = places["disturbed"].run()
    assert run is not None
    assert sorted(run.epochs) == list(range(1, EPOCHS + 1))
    assert run.num_epochs_trained == EPOCHS, "nothing was trained twice"


def test_mlflow_has_every_step_once(places: dict[str, Place]) -> None:
    uri = f"sqlite:///{places['disturbed'].results}/mlflow.db"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    (child,) = client.search_runs([experiment.experiment_id], "tags.`strsweep.run_id` = 'run-001'")
    history = client.get_metric_history(child.info.run_id, "sparsity")
    assert sorted(metric.step for metric in history) == list(range(1, EPOCHS + 1))


def test_only_the_newest_checkpoints_are_left(places: dict[str, Place]) -> None:
    assert folders(places["undisturbed"].storage, "runs/run-001") == ["epoch_00055", "epoch_00060"]
    # Those that waited while the storage was away gave way to the last one.
    kept = folders(places["disturbed"].storage, "runs/run-001")
    assert len(kept) == 2
    assert kept[-1] == "epoch_00060"


def test_a_new_machine_goes_on_from_s3_alone(places: dict[str, Place], tmp_path: Path) -> None:
    there = places["undisturbed"]
    said = finished(Place(there.path, there.environment, tmp_path).start())
    assert " trains" not in said
    assert "digits v1" in said
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    (version,) = MlflowClient(tracking_uri=uri, registry_uri=uri).search_model_versions()
    assert version.tags["weights_sha256"] == there.receipt()["weights_sha256"]


def test_no_secret_is_written_down(
    places: dict[str, Place], server: S3Server, ray_environment: dict[str, str]
) -> None:
    secret = server.environment["AWS_SECRET_ACCESS_KEY"].encode()
    for place in places.values():
        with place.storage.local("") as folder:
            stored = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        stored |= {path.name: path.read_bytes() for path in place.results.rglob("*.db")}
        assert [name for name, content in stored.items() if secret in content] == []
    logs = Path(ray_environment["RAY_TMPDIR"]).rglob("*.*")
    texts = (path for path in logs if path.suffix in {".log", ".out", ".err"})
    assert [path.name for path in texts if secret in path.read_bytes()] == []

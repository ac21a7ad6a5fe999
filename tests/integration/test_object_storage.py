"""Runs whose journal, checkpoints and models are on a real S3 server, which crashes."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from local_ray import Jobs
from s3_server import S3Server, running_server
from samples import folders

from strsweep.journal import RunRecord
from strsweep.storage import Store, storage_of

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore"),  # MLflow's own calls to SQLAlchemy
]

AWAY_S = float(os.environ.get("STRSWEEP_TEST_AWAY_S", "15"))
EPOCHS = 60
"""Ten seconds of training: they end while the storage is away."""


@dataclass
class Place:
    """Where one sweep is stored, and how its job is started."""

    name: str
    jobs: Jobs
    """MLflow's database is in their results folder, all else on S3."""

    @property
    def overrides(self) -> list[str]:
        """Of its job."""
        return [
            f"storage.path=s3://sweeps/{self.name}",
            f"training.epochs={EPOCHS}",
            "search.threshold_decay=8e-3",
        ]

    def start(self) -> subprocess.Popen[str]:
        """Start the job."""
        return self.jobs.start("train", self.overrides)

    @property
    def storage(self) -> Store:
        """Of the sweep."""
        return storage_of(self.jobs.experiment(self.overrides))

    def run(self) -> RunRecord | None:
        """Return the only run; None before it is proposed."""
        return next(iter(self.jobs.record(self.overrides).runs.values()), None)

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
            name: Place(name, Jobs(ray_environment, tmp_path_factory.mktemp(name)))
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
    client = places["disturbed"].jobs.client
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


def test_a_new_machine_goes_on_from_s3_alone(places: dict[str, Place], jobs: Jobs) -> None:
    there = places["undisturbed"]
    said = finished(Place(there.name, jobs).start())
    assert " trains" not in said
    assert "digits v1" in said
    (version,) = jobs.client.search_model_versions()
    assert version.tags["weights_sha256"] == there.receipt()["weights_sha256"]


def test_no_secret_is_written_down(
    places: dict[str, Place], server: S3Server, ray_environment: dict[str, str]
) -> None:
    secret = server.environment["AWS_SECRET_ACCESS_KEY"].encode()
    for place in places.values():
        with place.storage.local("") as folder:
            stored = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        stored |= {path.name: path.read_bytes() for path in place.jobs.results.rglob("*.db")}
        assert [name for name, content in stored.items() if secret in content] == []
    logs = Path(ray_environment["RAY_TMPDIR"]).rglob("*.*")
    texts = (path for path in logs if path.suffix in {".log", ".out", ".err"})
    assert [path.name for path in texts if secret in path.read_bytes()] == []

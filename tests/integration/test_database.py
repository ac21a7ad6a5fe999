"""Results in a database, without a server: what other tests, which name one, cannot see."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import ran
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from recorded_sweep import RecordedSweep, experiment_of
from torch import nn

from strsweep import registry
from strsweep.config import Experiment
from strsweep.errors import SettingError
from strsweep.journal import ModelLanded
from strsweep.packages import package
from strsweep.packages.receipt import Receipt
from strsweep.registry import publish
from strsweep.registry.registered_model import make_version
from strsweep.registry.tracking import Tracking
from strsweep.settings import Target
from strsweep.sparsity.convert import bake
from strsweep.training.landing import land_one

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader"),  # of MLflow's own
]

DRIVER = Path(__file__).parents[1] / "killed_publisher.py"
BOUNDARIES = [
    "MlflowClient.log_model_artifacts",
    "MlflowClient.finalize_logged_model",
    "MlflowClient.log_outputs",
    "MlflowClient.create_model_version",
]
"""After which there is a model that is not registered yet, or not known to be."""
CONNECT = """
import sys
from pathlib import Path
from recorded_sweep import experiment_of
from strsweep.registry.tracking import Tracking
with Tracking(experiment_of(Path(sys.argv[1]), sys.argv[2], "first")):
    print("connected")
"""


@pytest.fixture(autouse=True)
def _nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in an empty folder, with an environment that names no server."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(DRIVER.parent), *sys.path]))


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/results/mlflow.db"


@pytest.fixture
def recorded(tmp_path: Path, uri: str) -> Callable[..., RecordedSweep]:
    """Write a sweep of one trained run."""

    def write(*overrides: str) -> RecordedSweep:
        sweep = RecordedSweep(experiment_of(tmp_path, uri, "models", *overrides))
        sweep.start()
        sweep.run("run-001")
        return sweep

    return write


def versions(uri: str, name: str = "models") -> list[tuple[str, str]]:
    found = MlflowClient(uri, uri).search_model_versions(f"name = '{name}'")
    return sorted((version.tags["label"], str(version.version)) for version in found)


def test_an_uploaded_model_is_registered_later(
    recorded: Callable[..., RecordedSweep], uri: str, tmp_path: Path
) -> None:
    sweep = recorded()
    done = ran([sys.executable, str(DRIVER), str(tmp_path), uri, "models", *BOUNDARIES])
    said = [line for line in done.stdout.splitlines() if line.endswith((" -9", " 0", " 1"))]
    assert said == [*(f"{boundary} -9" for boundary in BOUNDARIES), "None 0"], done.stderr
    assert versions(uri) == [("sparsity-50", "1")]
    MlflowClient(uri, uri).delete_model_version("models", "1")
    assert registry.publish_journal(sweep.experiment).is_complete
    assert versions(uri) == [("sparsity-50", "2")]
    other = experiment_of(tmp_path, uri, "models", "tracking.model_name=others")
    assert registry.publish_journal(other).is_complete
    assert versions(uri, "others") == [("sparsity-50", "1")]
    assert list(Path.cwd().iterdir()) == []


def landed_twice(recorded: Callable[..., RecordedSweep]) -> tuple[RecordedSweep, list[ModelLanded]]:
    """A run that serves two targets."""
    sweep = recorded("search.targets=[0.5, 0.52]", "search.tolerance=0.08")
    run = sweep.record.runs["run-001"]
    targets = [Target(sparsity=0.5), Target(sparsity=0.52)]
    landed = [land_one(sweep.experiment, sweep.storage, run, target) for target in targets]
    for event in landed:
        sweep.journal.append(event)
    return sweep, landed


@pytest.mark.parametrize("is_missing", [True, False])
def test_a_target_that_cannot_be_packaged_leaves_the_others_alone(
    recorded: Callable[..., RecordedSweep],
    uri: str,
    is_missing: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sweep, landed = landed_twice(recorded)
    damaged = Path(sweep.storage.uri(f"{landed[0].checkpoint}/state.pt"))
    damaged.unlink() if is_missing else damaged.write_bytes(b"damaged")
    delivery = registry.publish_journal(sweep.experiment)
    registry.print_delivery(sweep.experiment, delivery)
    assert not delivery.is_complete
    assert versions(uri) == [("sparsity-52", "1")]
    said = capsys.readouterr().out
    assert f"50 % is not packaged: the checkpoint {damaged}" in said
    assert "submit the sweep again" in said


def test_a_network_that_fails_leaves_the_others_alone(
    recorded: Callable[..., RecordedSweep],
    uri: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sweep, _ = landed_twice(recorded)
    calls: list[nn.Module] = []

    def fail_once(model: nn.Module) -> nn.Module:
        calls.append(model)
        if len(calls) == 1:
            raise RuntimeError("of the user's own")
        return bake(model)

    monkeypatch.setattr(package, "bake", fail_once)
    delivery = registry.publish_journal(sweep.experiment)
    registry.print_delivery(sweep.experiment, delivery)
    assert len(versions(uri)) == 1
    assert "is not packaged: RuntimeError: of the user's own" in capsys.readouterr().out


def test_a_target_that_cannot_be_registered_leaves_the_others_alone(
    recorded: Callable[..., RecordedSweep], uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, _ = landed_twice(recorded)
    monkeypatch.setattr(publish, "_PATIENCE_S", 0)

    def refuse_one(
        client: MlflowClient, experiment: Experiment, receipt: Receipt, **named: str
    ) -> ModelVersion:
        if receipt.target == Target(sparsity=0.5):
            raise MlflowException("no")
        return make_version(client, experiment, receipt, **named)

    with monkeypatch.context() as patched:
        patched.setattr(publish, "make_version", refuse_one)
        assert not registry.publish_journal(sweep.experiment).is_complete
    assert versions(uri) == [("sparsity-52", "1")]
    assert registry.publish_journal(sweep.experiment).is_complete
    assert versions(uri) == [("sparsity-50", "2"), ("sparsity-52", "1")]


def test_first_jobs_at_once_share_a_new_database(uri: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CONNECT, str(tmp_path), uri]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate() for process in both] == [("connected\n", "")] * 2


@pytest.mark.parametrize(
    ("database", "reason"),
    [
        ("garbage.db", "file is not a database"),
        ("folder", "unable to open database file"),
        ("garbage.db/below.db", "File exists"),
    ],
)
def test_a_database_that_cannot_be_used_is_named(
    tmp_path: Path, database: str, reason: str
) -> None:
    (tmp_path / "garbage.db").write_bytes(b"garbage " * 1000)
    (tmp_path / "folder").mkdir()
    uri = f"sqlite:///{tmp_path}/{database}"
    with pytest.raises(SettingError, match=rf"^tracking\.uri: got '{uri}'.*{reason}"):
        Tracking(experiment_of(tmp_path, uri, "any"))

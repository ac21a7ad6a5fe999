"""A sweep starts from a model that is registered in MLflow."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file, save_file
from samples import load
from trained_sweep import delivered

from strsweep.config import Experiment
from strsweep.errors import SettingError
from strsweep.models.registered import pinned
from strsweep.settings import RunSettings
from strsweep.tasks import task_of
from strsweep.training.network import dense_model
from strsweep.training.problem import measure_problem

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default:.*noload.*")]
SETTINGS = RunSettings(threshold_init=-4.3, weight_decay=0.01)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Train and register a model; return the address of MLflow, and the weights' file."""
    folder = tmp_path_factory.mktemp("registered")
    model, uri = delivered(folder, 0.4, SETTINGS, "training.epochs=1")
    assert model.version is not None
    (weights,) = folder.glob("sweeps/*/models/*/*/weights.safetensors")
    return uri, weights


def starting(server: str, reference: str, *overrides: str) -> Experiment:
    names = (f"model.checkpoint={reference}", f"tracking.uri={server}", "name=onwards")
    return load(*names, *overrides)


@pytest.mark.parametrize("reference", ["models:/digits@sparsity-40", "models:/digits/1"])
def test_its_weights_are_the_start(server: tuple[str, Path], reference: str) -> None:
    uri, weights = server
    experiment = starting(uri, reference)
    model = dense_model(experiment, task_of(experiment))
    for name, tensor in load_file(weights).items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_an_alias_is_the_version_it_stands_for(server: tuple[str, Path]) -> None:
    named = starting(server[0], "models:/digits@sparsity-40")
    settled = pinned(named)
    assert str(settled.model.checkpoint) == "models:/digits/1"
    assert settled.sweep_id == named.sweep_id
    assert pinned(settled) == settled
    assert starting(server[0], "models:/others@sparsity-40").sweep_id != named.sweep_id


def test_other_weights_under_the_same_name_are_seen(
    server: tuple[str, Path], tmp_path: Path
) -> None:
    """The alias moves to another version: the sweep that was begun is not continued with it."""
    uri, weights = server
    first = starting(uri, "models:/digits/1")
    changed = {name: tensor + 1 for name, tensor in load_file(weights).items()}
    save_file(changed, tmp_path / "weights.safetensors")
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(uri, uri)
    run = client.create_run(str(client.create_experiment("by hand")))
    client.log_artifacts(run.info.run_id, str(tmp_path), "model")
    made = client.create_model_version("digits", f"runs:/{run.info.run_id}/model", run.info.run_id)
    again = starting(uri, f"models:/digits/{made.version}")
    assert again.sweep_id == first.sweep_id
    identities = [measure_problem(e, task_of(e)).identity for e in (first, again)]
    assert identities[0]["checkpoint"] != identities[1]["checkpoint"]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("models:/nobody@champion", r"model\.checkpoint: got 'models:/nobody@champion'.*nobody"),
        ("models:/digits@no_such", r"model\.checkpoint: .*says: .*no_such"),
    ],
)
def test_a_model_that_is_not_there_is_named(
    server: tuple[str, Path], reference: str, message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        pinned(starting(server[0], reference))


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    experiment = starting(f"sqlite:///{tmp_path}/no.db", "models:/digits/1")
    with pytest.raises(SettingError, match=r"There is no sqlite.*name your MLflow server"):
        dense_model(experiment, task_of(experiment))

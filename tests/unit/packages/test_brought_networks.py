"""Networks of the kinds that people bring, from training to what is registered and loaded again."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.pytorch import load_model
from trained_sweep import delivered

from strsweep.errors import ExportError
from strsweep.packages.export import export_model, print_exports
from strsweep.packages.finished_model import evaluate_model
from strsweep.registry.delivery import Delivered
from strsweep.settings import RunSettings

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default:.*noload.*"),  # in MLflow's own tables
]
SETTINGS = RunSettings(threshold_init=-5, weight_decay=0.06)
TRUST = ["brought_networks"]


def brought(network: str, folder: Path, target: float, *overrides: str) -> tuple[Delivered, str]:
    """Train a network, land it on the target, and publish; returns also the server."""
    return delivered(folder, target, SETTINGS, f"model.name=brought_networks:{network}", *overrides)


@pytest.mark.parametrize(
    ("network", "target", "overrides"),
    [
        ("Tied", 0.4, ()),
        ("Repeated", 0.4, ()),
        ("OwnAutocast", 0.2, ()),
        ("Normed", 0.1, ("sparsity.skip=[wide]",)),
    ],
)
def test_a_program_is_registered(
    network: str,
    target: float,
    overrides: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, uri = brought(network, tmp_path, target, *overrides)
    assert model.version is not None
    assert model.receipt is not None
    assert model.receipt.zeros == round(target * model.receipt.weights)
    mlflow.set_tracking_uri(uri)
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    name = f"models:/digits@sparsity-{target * 100:g}"
    program = load_model(name)
    for count in (1, 3, 7):
        assert program(torch.zeros(count, 1, 8, 8)).shape == (count, 10)
    again = evaluate_model(name, uri, trust=TRUST)
    assert again.zeros == model.receipt.zeros
    # A program of bfloat16 may sum in another order.
    assert again.metrics["accuracy"] == pytest.approx(model.receipt.score, abs=0.01)


@pytest.mark.parametrize("network", ["DataDependent", "Loops"])
def test_what_is_no_program_is_registered_as_weights(
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, uri = brought(network, tmp_path, 0.2)
    assert model.version is not None
    assert "is registered as weights, which need its code to run" in capsys.readouterr().out
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    version = client.get_model_version("digits", str(model.version))
    assert "it is registered as weights, which the code of" in str(version.description)
    mlflow.set_tracking_uri(uri)
    with pytest.raises(MlflowException):
        load_model("models:/digits@sparsity-20")
    again = evaluate_model("models:/digits@sparsity-20", uri, trust=TRUST)
    assert model.receipt is not None
    assert again.zeros == model.receipt.zeros == 61
    assert again.metrics["accuracy"] == model.receipt.score
    # A format that cannot hold it stops no other.
    formats = ["onnx", "program", "dense"]
    exports = export_model(
        "models:/digits@sparsity-20", formats, tmp_path / "out", uri, trust=TRUST
    )
    assert "dense" in exports.files
    assert any("model.pt2 cannot be written" in told for told in exports.failed)
    with pytest.raises(ExportError, match=r"model\.pt2 cannot be written"):
        print_exports(exports)

"""jobs/export.py on a model that was trained, packaged and registered here, without a Ray."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import ran
from mlflow.models import Model
from safetensors.torch import load_file, save_file
from trained_sweep import delivered

from strsweep.errors import CheckpointError, SettingError
from strsweep.packages import evaluate_model, export_model
from strsweep.packages.finished_model import FinishedModel
from strsweep.packages.receipt import read_receipt
from strsweep.settings import RunSettings

ROOT = Path(__file__).parents[2]
SETTINGS = RunSettings(threshold_init=-4, weight_decay=1e-2)
FILES = {"dense": "model.safetensors", "program": "model.pt2", "onnx": "model.onnx"}


@dataclass(frozen=True)
class Trained:
    results: Path
    package: Path
    zeros: int


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    results = tmp_path_factory.mktemp("results")
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("MLFLOW_TRACKING_URI", "")  # MLflow sets it; this takes it back
        warnings.simplefilter("ignore")  # MLflow's own: jobs that users run show none
        model, _ = delivered(results, 0.5, SETTINGS)
    assert model.version == "1"
    [package] = results.glob("sweeps/*/models/sparsity-50/run-001")
    return Trained(results=results, package=package, zeros=read_receipt(package).zeros)


def job(name: str, trained: Trained, *arguments: str) -> tuple[int, str, str]:
    done = ran(
        [sys.executable, f"jobs/{name}.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "STRSWEEP_RESULTS": str(trained.results)},
        timeout=600,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


def rows(output: str) -> dict[str, list[str]]:
    """The table of a job: the cells of each row by format."""
    cells = (re.split(r"\s{2,}", line.strip()) for line in output.splitlines())
    return {row[0]: row[1:] for row in cells if row[0] in FILES}


@pytest.mark.parametrize(
    "reference", [pytest.param("package", marks=pytest.mark.long), "models:/digits@sparsity-50"]
)
def test_all_formats_of_a_finished_model(reference: str, trained: Trained, tmp_path: Path) -> None:
    model = str(trained.package) if reference == "package" else reference
    code, output, errors = job("export", trained, "--model", model, "--out", str(tmp_path / "out"))
    assert code == 0, errors
    table = rows(output)
    assert {name: row[0] for name, row in table.items()} == FILES
    dense_size = (trained.package / "weights.safetensors").stat().st_size
    for file, megabytes, share, zeros, difference in table.values():
        size = (tmp_path / "out" / file).stat().st_size
        assert megabytes == f"{size / 1e6:,.3f}"
        assert share == f"{size / dense_size * 100:.1f} %"
        assert zeros == f"{trained.zeros:,}"
        assert float(difference) <= 1e-5
    assert len(list((tmp_path / "out").iterdir())) == len(FILES)
    weights = load_file(trained.package / "weights.safetensors")
    dense = load_file(tmp_path / "out" / FILES["dense"])
    for name, weight in weights.items():
        assert torch.equal(dense[name], weight)


def test_only_what_was_asked_for(trained: Trained, tmp_path: Path) -> None:
    arguments = ["--format", "dense", "--format", "program", "--format", "dense"]
    model = ["--model", str(trained.package), "--out", str(tmp_path)]
    (tmp_path / FILES["dense"]).write_bytes(b"of an earlier export")
    code, output, errors = job("export", trained, *model, *arguments)
    assert code == 0, errors
    assert list(rows(output)) == ["dense", "program"]
    assert {path.name for path in tmp_path.iterdir()} == {FILES["dense"], FILES["program"]}
    assert load_file(tmp_path / FILES["dense"])


@pytest.mark.parametrize(
    ("overrides", "message", "remedy"),
    [
        ({"--format": "tflite"}, "--format: got 'tflite'", "Use one of ['dense'"),
        ({"--model": "/nowhere"}, "--model: got '/nowhere'", "Name models:/NAME@ALIAS"),
        ({"--model": "models:/digits@none"}, "--model: got 'models:/digits@none'", "not found"),
        ({"--out": "/proc/strsweep"}, "--out: got '/proc/strsweep'", "can write to"),
    ],
)
def test_a_wrong_input_is_told(
    overrides: dict[str, str], message: str, remedy: str, trained: Trained, tmp_path: Path
) -> None:
    options = {"--model": str(trained.package), "--out": str(tmp_path / "out"), **overrides}
    arguments = [part for option in options.items() for part in option]
    code, _, errors = job("export", trained, *arguments)
    assert code == 2, errors
    assert errors.count("wrong input") == 1
    assert message in errors
    assert remedy.lower() in errors.lower()
    out = tmp_path / "out"
    assert not out.exists() or list(out.iterdir()) == []


def test_damaged_or_foreign_weights_are_told(trained: Trained, tmp_path: Path) -> None:
    package = tmp_path / "package"
    shutil.copytree(trained.package, package)
    weights = package / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    arguments = ["--model", str(package), "--out", str(tmp_path / "out")]
    code, _, errors = job("export", trained, *arguments)
    assert code == 1
    assert "failed: the weights" in errors
    save_file({"fc.weight": torch.ones(3, 3)}, weights)
    with pytest.raises(CheckpointError, match="belongs to another network"):
        export_model(str(package), ["dense"], tmp_path / "out", "unused")
    assert list((tmp_path / "out").iterdir()) == []


PLANTED = """
from pathlib import Path

import strsweep
from strsweep.models import build

Path(__file__).with_name("ran").touch()


class Method(strsweep.Method, frozen=True):
    mode: str = "planted.code:Method"


class Task(strsweep.Task):
    pass


def network(**options):
    return build("digits_cnn", **options)
"""


@pytest.mark.parametrize(
    "named",
    [
        {
            "model": {
                "name": "torch.hub:load",
                "options": {"repo_or_dir": "HERE", "source": "local"},
            }
        },
        {"model": {"name": "planted.code:network"}},
        {"sparsity": {"mode": "planted.code:Method"}},
        {"data": {"name": "planted.code:network"}},
        {"data": {"name": "digits", "augment": "planted.code:network"}},
        {"task": {"name": "planted.code:Task"}, "data": {}},
    ],
    ids=["hub", "model", "method", "data", "augment", "task"],
)
def test_no_code_runs_that_a_package_names(
    named: dict[str, Any], trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    shutil.copytree(trained.package, package)
    (package / "hubconf.py").write_text(PLANTED)
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "code.py").write_text(PLANTED)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(package)
    file = package / "experiment.json"
    text = json.dumps(json.loads(file.read_text()) | named)
    file.write_text(text.replace("HERE", str(package)))
    calls = (
        lambda: export_model(str(package), ["dense"], tmp_path / "out", "unused"),
        lambda: evaluate_model(str(package), "unused"),
        lambda: evaluate_model(str(package), "unused", trust=["planted.cod", "torch.hubs"]),
    )
    for call in calls:
        with pytest.raises(SettingError, match="want to run code"):
            call()
    assert not [*tmp_path.rglob("ran")]


def test_a_trusted_module_is_used(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    shutil.copytree(trained.package, package)
    (tmp_path / "mine.py").write_text(PLANTED)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    file = package / "experiment.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model": {"name": "mine:network"}}))
    code, _, errors = job("evaluate", trained, "--model", str(package))
    assert (code, "add --trust mine." in errors) == (2, True)
    code, output, errors = job("evaluate", trained, "--model", str(package), "--trust", "mine")
    assert code == 0, errors
    assert f"{trained.zeros:,} zeros" in output


def test_a_registered_model_that_brings_code_or_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    for flavor, file in (
        ({"model_data": "data", "code": "extra_files"}, "model.pt2"),
        ({"model_data": "data"}, "model.pth"),
        ({"model_data": "extra_files"}, "model.pt2"),
    ):
        folder = tmp_path / f"{file}{len(flavor)}"
        (folder / "data").mkdir(parents=True, exist_ok=True)
        (folder / "data" / file).touch()
        Model(flavors={"pytorch": {"pytorch_version": "2.11", **flavor}}).save(folder / "MLmodel")
        with pytest.raises(SettingError, match="it is not run"):
            FinishedModel(folder / "extra_files", folder).program()


@pytest.mark.parametrize("reference", ["package", "models:/digits@sparsity-50"])
def test_the_same_models_are_evaluated(reference: str, trained: Trained) -> None:
    model = str(trained.package) if reference == "package" else reference
    code, output, errors = job("evaluate", trained, "--model", model)
    assert code == 0, errors
    assert f"{trained.zeros:,} zeros" in output


def test_help_explains_itself(trained: Trained) -> None:
    code, output, _ = job("export", trained, "--help")
    text = " ".join(re.sub(r"[^\w\s.,:;()/@-]", " ", output).split())
    assert code == 0
    for word in ("Exit code 0", "program", "models:/NAME@ALIAS", "by default all three"):
        assert word in text

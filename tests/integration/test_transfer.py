"""Budgets on a real Ray: learned by one run, obeyed by another; one run per target by a rule."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from safetensors.torch import load_file

from strsweep.sparsity.budget import Budget

Job = Callable[..., "subprocess.CompletedProcess[str]"]

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore"),  # MLflow's own calls to SQLAlchemy
]

DIGITS = "jobs/configs/digits.yaml"
SHORT = ("--set", "training.epochs=6")


def package(results: Path, label: str, name: str) -> Path:
    (folder,) = results.glob(f"sweeps/{name}-*/models/{label}/run-*")
    return folder


def test_a_learned_budget_is_obeyed_to_the_weight(job: Job, results: Path) -> None:
    learning = ("--set", "name=learned", "--set", "search.threshold_decay=6e-2")
    done = job("train", "--config", DIGITS, *SHORT, *learning)
    assert done.returncode == 0, done.stderr
    learned = package(results, "single", "learned")
    done = job(
        "train",
        *("--config", DIGITS, "--budget", str(learned), "--method", "gmp", *SHORT),
        *("--set", "name=obeyed"),
    )
    assert done.returncode == 0, done.stderr
    obeyed = package(results, "single", "obeyed")
    theirs, ours = (
        Budget.from_json((folder / "budget.json").read_text()) for folder in (learned, obeyed)
    )
    assert 0.3 < theirs.sparsity < 1
    kept = [round(layer.density * layer.weights) for layer in theirs.layers]
    assert [round(layer.density * layer.weights) for layer in ours.layers] == kept
    weights = load_file(obeyed / "weights.safetensors")
    rows = json.loads((obeyed / "budget.json").read_text())
    zeros = [int((weights[row["parameter"]] == 0).sum()) for row in rows]
    assert zeros == [layer.weights - n for layer, n in zip(theirs.layers, kept, strict=True)]


@pytest.mark.long
@pytest.mark.parametrize(
    ("mode", "targets"),
    [("sparsity={mode: gmp, budget: erk}", [80]), ("sparsity.mode=steered", [80, 90])],
)
def test_one_run_per_target_when_the_mode_is_told(
    mode: str, targets: list[int], job: Job, results: Path
) -> None:
    done = job(
        "sweep",
        *("--config", DIGITS, *SHORT, "--set", "name=told"),
        *("--set", f"search.targets={[target / 100 for target in targets]}"),
        *("--set", mode),
    )
    assert done.returncode == 0, done.stderr
    assert "search ended: every target is hit" in done.stdout
    assert sorted(set(re.findall(r"run-\d+", done.stdout))) == [
        f"run-{number:03d}" for number, _ in enumerate(targets, start=1)
    ]
    uri = f"sqlite:///{results}/mlflow.db"
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    for target in targets:
        version = client.get_model_version_by_alias("told", f"sparsity-{target}")
        assert version.tags["method"].partition(",")[0] in mode
        assert float(version.tags["sparsity"]) == pytest.approx(target / 100, abs=1e-4)
        assert "threshold_init" not in version.tags

"""What users bring goes through Ray: hit, landed, registered, evaluated and exported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
import ray
import torch
from integration.own_tasks import Reader

import strsweep
from strsweep.journal import Journal, SweepRecord, replay
from strsweep.packages import evaluate_model, export_model
from strsweep.registry import Delivery
from strsweep.storage import storage_of

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore"),  # Ray's own, in this process
]

OWN = "tests.integration.own_tasks"
RECIPE = """
name: own
training:
  epochs: 24
  batch_size: 32
  learning_rate: 0.1
  momentum: 0.9
  warmup_epochs: 2
search: {targets: [0.8, 0.9], weight_decay: 1.0e-4, max_runs: 8}
"""
CASES: dict[str, tuple[tuple[str, ...], str, float]] = {
    "gray images": (
        (f"model.name='{OWN}:conv_net'", f"data={{name: '{OWN}:bars', options: {{images: 640}}}}"),
        "accuracy",
        0.8,
    ),
    "segmentation": ((f"model.name='{OWN}:UNet'", f"task.name='{OWN}:Blobs'"), "iou", 0.6),
    "regression": (
        (
            f"model.name='{OWN}:mlp'",
            f"task.name='{OWN}:Waves'",
            "training.schedule=linear",
            "training.clip_gradients=1",
        ),
        "rmse",
        0.9,
    ),
    "multi-label": ((f"model.name='{OWN}:conv_net'", f"task.name='{OWN}:Tags'"), "f1", 0.85),
    "sequences": (
        (
            f"model={{name: '{OWN}:Reader', skip_head: true}}",
            f"data={{name: '{OWN}:brackets', num_classes: 3}}",
            "training.optimizer=adamw",
            "training.optimizer_options={betas: [0.9, 0.98]}",
            "training.learning_rate=2e-3",
        ),
        "accuracy",
        0.75,
    ),
}
"""What is brought, its metric, and what sparse models must reach."""
ALWAYS = {"regression"}
"""The others are left to make test-all."""


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def experiment(folder: Path, *overrides: str) -> strsweep.Experiment:
    path = folder / "own.yaml"
    path.write_text(RECIPE)
    places = (f"storage.path={folder}", f"tracking.uri=sqlite:///{folder}/mlflow.db")
    return strsweep.load_experiment(path, [*overrides, *places])


def journal_of(found: strsweep.Experiment) -> SweepRecord:
    return replay(Journal(storage_of(found)).read())


def pretrained(folder: Path) -> str:
    """Save a reader that was made for two classes, as a training script would."""
    torch.manual_seed(1)
    path = folder / "pretrained.pt"
    torch.save({"model": {f"module.{k}": v for k, v in Reader(2).state_dict().items()}}, path)
    return f"model.checkpoint={path}"


def assert_delivered(delivery: Delivery, metric: str, least: float, folder: Path) -> None:
    uri = f"sqlite:///{folder}/mlflow.db"
    assert delivery.is_complete
    reference, receipt = "", None
    for model, wanted in zip(delivery.models, (0.8, 0.9), strict=True):
        receipt = model.receipt
        assert receipt is not None
        assert receipt.zeros == round(wanted * receipt.weights)
        assert receipt.metric.name == metric
        is_good = (
            receipt.score > least if receipt.metric.higher_is_better else receipt.score < least
        )
        assert is_good, receipt.score
        reference = f"models:/own@sparsity-{wanted * 100:.0f}"
        evaluated = evaluate_model(reference, uri, trust=[OWN])
        assert evaluated.metrics[metric] == pytest.approx(receipt.score, abs=1e-4)
        assert evaluated.zeros == receipt.zeros
    assert receipt is not None
    exported = export_model(reference, ["program", "onnx"], folder / "exported", uri, trust=[OWN])
    assert all(file.zeros == receipt.zeros for file in exported.files.values())


@pytest.mark.parametrize(
    "case",
    [case if case in ALWAYS else pytest.param(case, marks=pytest.mark.long) for case in CASES],
)
def test_it_is_swept_landed_registered_and_exported(case: str, tmp_path: Path) -> None:
    overrides, metric, least = CASES[case]
    start = [pretrained(tmp_path)] if case == "sequences" else []
    delivery = strsweep.sweep(experiment(tmp_path, *overrides, *start))
    assert_delivered(delivery, metric, least, tmp_path)
    report = next(tmp_path.glob("sweeps/*/report/report.html")).read_text()
    assert f"validation {metric}" in report
    again: Any = strsweep.sweep(experiment(tmp_path, *overrides, *start))
    assert [m.version for m in again.models] == [m.version for m in delivery.models]
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (place,) = client.search_experiments(filter_string="name = 'own'")
    runs = client.search_runs([place.experiment_id])
    assert any(metric in run.data.metrics for run in runs)


VIT = (
    f"model.name='{OWN}:vit'",
    f"data={{name: '{OWN}:colored_digits', num_classes: 10}}",
    "training.optimizer=adamw",
    "training.learning_rate=2e-3",
    "training.epochs=30",
    "training.batch_size=64",
    "training.checkpoint_every=5",
)


@pytest.mark.long
def test_a_vision_transformer_under_adamw_is_led_and_stays_near_dense(tmp_path: Path) -> None:
    targets = (0.8, 0.9, 0.95)
    asked = (*VIT, f"search={{targets: {list(targets)}, weight_decay: 0.05, baseline: true}}")
    found = experiment(tmp_path, *asked)
    delivery = strsweep.sweep(found)
    assert delivery.is_complete
    begun = [run for run in journal_of(found).runs.values() if run.target is not None]
    scores = [model.receipt.score for model in delivery.models if model.receipt is not None]
    print(f"{len(begun)} runs; dense {delivery.dense_score}, sparse {scores}")
    assert len(begun) <= 1.4 * len(targets), "one of them may miss"
    assert delivery.dense_score is not None
    assert scores[0] > delivery.dense_score - 0.03

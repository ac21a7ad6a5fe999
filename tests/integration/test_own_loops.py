"""A sweep calls a loop that is not ours: plain torch, Lightning, Hugging Face's trainer."""

from __future__ import annotations

from pathlib import Path

import pytest

import strsweep
from strsweep.journal import Journal, replay
from strsweep.storage import storage_of

pytestmark = [
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_here"),
    pytest.mark.filterwarnings("ignore"),  # of the libraries, in this process
]
OWN = "tests.integration.own_loops"
RECIPE = """
name: loops
model: {name: digits_cnn}
data: {name: digits}
training:
  epochs: 20
  batch_size: 128
  momentum: 0.9
  warmup_epochs: 0
  checkpoint_every: 5
search: {targets: [0.9], baseline: true, max_runs: 6}
"""


@pytest.mark.parametrize(
    "overrides",
    [
        (
            f"training.loop={OWN}:plain",
            "workers.count=2",
            "training.loop_options={learning_rate: 0.003}",
        ),
        pytest.param((f"training.loop={OWN}:lit",), marks=pytest.mark.long),
        pytest.param((f"training.loop={OWN}:hugging_face",), marks=pytest.mark.long),
    ],
    ids=["plain", "lightning", "transformers"],
)
def test_a_loop_is_swept_to_its_target(overrides: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(RECIPE)
    places = (f"storage.path={tmp_path}", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db")
    experiment = strsweep.load_experiment(tmp_path / "own.yaml", [*overrides, *places])
    delivery = strsweep.sweep(experiment)
    record = replay(Journal(storage_of(experiment)).read())
    assert delivery.is_complete
    (model,) = delivery.models
    assert model.receipt is not None
    assert model.receipt.zeros == round(0.9 * model.receipt.weights)
    assert model.receipt.score > 0.93
    assert model.receipt.dense_score is not None
    assert model.receipt.dense_score > 0.96
    assert all(run.failed is None for run in record.runs.values())

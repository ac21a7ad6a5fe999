"""A package holds what was delivered, landed or as trained, and its receipt says which."""

from __future__ import annotations

import json
from typing import Any

import pytest
from safetensors.torch import load_file

from strsweep.config import Target
from strsweep.data import load_images
from strsweep.errors import StrsweepError
from strsweep.journal import ModelLanded
from strsweep.registry.package import Package, package, read_receipt
from strsweep.training.checkpoint import load_checkpoint


def packaged(sweep: Any, target: Target | None, landed: ModelLanded | None = None) -> Package:
    images = load_images(sweep.experiment.data)
    return package(sweep.experiment, sweep.storage, images, sweep.run, target=target, landed=landed)


def test_the_landed_model_is_packaged(sweep: Any) -> None:
    landed = sweep.land(sparsity=0.2)
    made = packaged(sweep, landed.target, landed)
    assert made.folder == "models/sparsity-20/run-001"
    receipt = read_receipt(sweep.storage.path(made.folder))
    assert receipt == made.receipt
    assert receipt.zeros == round(0.2 * receipt.weights)
    assert receipt.accuracy == landed.metrics["accuracy"]
    assert receipt.macs == landed.metrics["macs"]
    assert receipt.landed is not None
    assert receipt.landed.shift == landed.shift
    assert receipt.landed.accuracy_before == 0.125
    assert receipt.landed.sparsity_before == sweep.run.finished.metrics["sparsity"]
    assert receipt.landed.macs_before == sweep.run.finished.metrics["macs"]
    folder = sweep.storage.path(made.folder)
    weights = load_file(folder / "weights.safetensors")
    budget = json.loads((folder / "budget.json").read_text())
    zeros = [int((weights[layer["parameter"]] == 0).sum()) for layer in budget]
    assert zeros == [layer["zeros"] for layer in budget] == [row.zeros for row in landed.layers]


def test_without_landing_it_is_what_training_ended_with(sweep: Any) -> None:
    made = packaged(sweep, None)
    assert made.folder == "models/single/run-001"
    receipt = read_receipt(sweep.storage.path(made.folder))
    assert (receipt.target, receipt.landed, receipt.accuracy) == (None, None, 0.125)
    assert receipt.sparsity == sweep.run.finished.metrics["sparsity"]


def test_targets_in_multiply_adds(sweep: Any) -> None:
    landed = sweep.land(macs=0.5)
    receipt = packaged(sweep, landed.target, landed).receipt
    assert receipt.target == Target(macs=0.5)
    assert receipt.dense_macs / 2 - 64 < receipt.macs <= receipt.dense_macs / 2


def test_a_receipt_of_version_0_1_is_read(sweep: Any) -> None:
    made = packaged(sweep, Target(sparsity=0.2))
    path = sweep.storage.path(made.folder) / "receipt.json"
    content = json.loads(path.read_text())
    del content["landed"]
    path.write_text(json.dumps(content | {"target": 0.2}))
    assert read_receipt(path.parent) == made.receipt


@pytest.mark.parametrize("is_landed", [True, False])
def test_a_changed_checkpoint_is_told(sweep: Any, is_landed: bool) -> None:
    landed = sweep.land(sparsity=0.2) if is_landed else None
    source = landed or sweep.run.finished
    layers = (source.layers[0].model_copy(update={"zeros": 0}), *source.layers[1:])
    changed = source.model_copy(update={"layers": layers})
    assert load_checkpoint(sweep.storage.path(source.checkpoint))
    if not is_landed:
        sweep.run.finished = changed
    with pytest.raises(StrsweepError, match=f"the checkpoint {source.checkpoint} was changed"):
        packaged(sweep, Target(sparsity=0.2), changed if is_landed else None)

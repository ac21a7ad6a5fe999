"""A package holds what was delivered, landed or as trained, and its receipt says which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from samples import epoch, finished, proposed

from strsweep.errors import SettingError, StrsweepError
from strsweep.journal import ModelLanded
from strsweep.journal.record import add
from strsweep.packages.package import Package, Packager
from strsweep.packages.receipt import EXAMPLE, PACKAGE_FILES, read_receipt
from strsweep.settings import RunSettings, Target
from strsweep.training.checkpoints import load_checkpoint


def packaged(sweep: Any, target: Target | None, landed: ModelLanded | None = None) -> Package:
    add([] if landed is None else [landed], sweep.record)
    return Packager(sweep.experiment, sweep.record).package("run-001", target)


def add_dense_network(sweep: Any, accuracy: float) -> None:
    """Tell of the dense network of the same recipe, trained after the others."""
    settings = RunSettings(weight_decay=0.01, is_dense=True)
    trained = epoch(1, "run-002", accuracy=accuracy, threshold_decay=0.0)
    end = finished("run-002", metrics=trained.metrics)
    add([proposed("run-002", None, settings=settings), trained, end], sweep.record)


def test_the_landed_model_is_packaged(sweep: Any) -> None:
    landed = sweep.land(sparsity=0.2)
    made = packaged(sweep, landed.target, landed)
    assert made.folder == "models/sparsity-20/run-001"
    receipt = read_receipt(Path(sweep.storage.uri(made.folder)))
    assert receipt == made.receipt
    assert receipt.zeros == round(0.2 * receipt.weights)
    assert receipt.score == landed.metrics["accuracy"]
    assert receipt.method == "str, own threshold decay, led to the target"
    assert receipt.dense_score is None
    assert receipt.macs == landed.metrics["macs"]
    assert receipt.landed is not None
    assert receipt.landed.shift == landed.shift
    assert receipt.landed.score_before == 0.125
    assert receipt.landed.sparsity_before == sweep.run.finished.metrics["sparsity"]
    assert receipt.landed.macs_before == sweep.run.finished.metrics["macs"]
    folder = Path(sweep.storage.uri(made.folder))
    weights = load_file(folder / "weights.safetensors")
    budget = json.loads((folder / "budget.json").read_text())
    zeros = [int((weights[layer["parameter"]] == 0).sum()) for layer in budget]
    assert zeros == [layer["zeros"] for layer in budget] == [row.zeros for row in landed.layers]


def test_without_landing_it_is_what_training_ended_with(sweep: Any) -> None:
    made = packaged(sweep, None)
    assert made.folder == "models/single/run-001"
    receipt = read_receipt(Path(sweep.storage.uri(made.folder)))
    assert (receipt.target, receipt.landed, receipt.score) == (None, None, 0.125)
    assert receipt.sparsity == sweep.run.finished.metrics["sparsity"]


def test_targets_in_multiply_adds(sweep: Any) -> None:
    landed = sweep.land(macs=0.5)
    receipt = packaged(sweep, landed.target, landed).receipt
    assert receipt.target == Target(macs=0.5)
    assert receipt.dense_macs / 2 - 64 < receipt.macs <= receipt.dense_macs / 2


def test_a_dense_network_that_was_trained_later_is_added_to_the_receipt(sweep: Any) -> None:
    made = packaged(sweep, Target(sparsity=0.2))
    folder = Path(sweep.storage.uri(made.folder))
    weights = (folder / "weights.safetensors").stat().st_mtime_ns
    add_dense_network(sweep, 0.25)
    later = packaged(sweep, Target(sparsity=0.2))
    assert read_receipt(folder) == later.receipt
    assert later.receipt == made.receipt.model_copy(update={"dense_score": 0.25})
    assert later.receipt.against_dense == "12.50 points below dense"
    assert (folder / "weights.safetensors").stat().st_mtime_ns == weights


@pytest.mark.parametrize("is_landed", [True, False])
def test_a_changed_checkpoint_is_told(sweep: Any, is_landed: bool) -> None:
    landed = sweep.land(sparsity=0.2) if is_landed else None
    source = landed or sweep.run.finished
    layers = (source.layers[0].model_copy(update={"zeros": 0}), *source.layers[1:])
    changed = source.model_copy(update={"layers": layers})
    assert load_checkpoint(sweep.storage, source.checkpoint)
    if not is_landed:
        sweep.run.finished = changed
    with pytest.raises(StrsweepError, match=f"the checkpoint {source.checkpoint} was changed"):
        packaged(sweep, Target(sparsity=0.2), changed if is_landed else None)


@pytest.mark.parametrize(("changed", "is_now"), [("data", "1,400"), ("model", r"\d+ tensors")])
def test_nothing_is_packaged_of_what_is_another_now(sweep: Any, changed: str, is_now: str) -> None:
    sweep.record.problem.identity[changed] = "another one"
    with pytest.raises(SettingError, match=f"{changed} changed .* was another one; it is {is_now}"):
        packaged(sweep, Target(sparsity=0.2))
    assert not sweep.storage.sizes("models")


def test_a_package_is_used_again_without_data_and_checkpoint(
    sweep: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_data(_: object) -> object:
        raise AssertionError("the data is not there")

    landed = sweep.land(sparsity=0.2)
    made = packaged(sweep, landed.target, landed)
    sweep.storage.delete("runs")
    sweep.storage.delete("landed")
    monkeypatch.setattr("strsweep.packages.package.task_of", no_data)
    again = packaged(sweep, landed.target)
    assert again.receipt == made.receipt
    assert torch.equal(again.inputs[0], made.inputs[0])
    assert torch.equal(again.model(*again.inputs), again.outputs[0])
    assert torch.equal(again.outputs[0], made.outputs[0])


@pytest.mark.parametrize("name", ["weights.safetensors", "example.safetensors", "receipt.json"])
def test_a_damaged_package_is_written_again(
    sweep: Any, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = packaged(sweep, Target(sparsity=0.2))
    content = sweep.storage.read(f"{made.folder}/{name}")
    sweep.storage.write(f"{made.folder}/{name}", content[: len(content) // 2])
    assert packaged(sweep, Target(sparsity=0.2)).receipt == made.receipt
    assert sweep.storage.read(f"{made.folder}/{name}") == content
    assert ("is damaged and is written again" in capsys.readouterr().out) == ("receipt" not in name)


@pytest.mark.parametrize("name", [*PACKAGE_FILES, EXAMPLE])
def test_a_file_that_is_missing_is_written_again(sweep: Any, name: str) -> None:
    made = packaged(sweep, Target(sparsity=0.2))
    content = sweep.storage.read(f"{made.folder}/{name}")
    sweep.storage.delete(f"{made.folder}/{name}")
    assert packaged(sweep, Target(sparsity=0.2)).receipt == made.receipt
    assert sweep.storage.read(f"{made.folder}/{name}") == content


def test_a_package_of_another_landing_is_not_taken_for_this_one(sweep: Any) -> None:
    landed = sweep.land(sparsity=0.2)
    packaged(sweep, landed.target)
    assert packaged(sweep, landed.target, landed).receipt.landed is not None

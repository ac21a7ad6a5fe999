"""A trained run as files that need nothing of ours: dense weights, layer budget and receipt."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load, save
from torch import Tensor, nn

from strsweep.config import Experiment, RunSettings
from strsweep.data import Images
from strsweep.errors import CheckpointError, StrsweepError
from strsweep.journal import LayerRow, RunRecord
from strsweep.registry.layer_table import layer_csv, layer_json
from strsweep.sparsity import bake
from strsweep.storage import SweepStorage
from strsweep.training.checkpoint import load_checkpoint
from strsweep.training.network import sparse_model

WEIGHTS, RECEIPT, EXPERIMENT = "weights.safetensors", "receipt.json", "experiment.json"
BUDGET_CSV, BUDGET_JSON = "budget.csv", "budget.json"
PACKAGE_FILES = (WEIGHTS, BUDGET_CSV, BUDGET_JSON, EXPERIMENT, RECEIPT)


class Receipt(BaseModel):
    """What is in the weights file, counted from the file itself, and where it comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: float | None
    sparsity: float
    """Share of exact zeros among convolution and linear weights."""
    zeros: int
    weights: int
    macs: int
    """Multiply-adds of one input that are left."""
    dense_macs: int
    accuracy: float
    """On the validation images, after the last epoch."""
    mode: str
    """How it became sparse: ``str``, ``steered``, ``gmp``, ``dnw`` or ``dense``."""
    settings: RunSettings
    sweep_id: str
    run_id: str
    weights_sha256: str


@dataclass(frozen=True, kw_only=True)
class Package:
    """The files of one model, and the model they hold."""

    folder: str
    """Relative to the sweep."""
    model: nn.Module
    """Plain and dense: the pruned weights are zeros."""
    receipt: Receipt


def package(
    experiment: Experiment,
    storage: SweepStorage,
    images: Images,
    run: RunRecord,
    *,
    target: float | None,
) -> Package:
    """Bake the last checkpoint of ``run``, write its files, and count again from what was written.

    Args:
        experiment: How the run was trained.
        storage: Of the sweep.
        images: The data of the experiment, opened once for all packages.
        run: A finished run.
        target: What it is delivered for; None for a single run.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        StrsweepError: The file does not hold what the run measured.
    """
    assert run.finished is not None
    folder = f"models/{label(target)}/{run.run_id}"
    model = baked_model(experiment, storage, images, run)
    storage.write(f"{folder}/{WEIGHTS}", save(_contiguous(model.state_dict())))
    content = storage.read(f"{folder}/{WEIGHTS}")
    layers = recount(load(content), run.finished.layers)
    receipt = _receipt(experiment, run, layers, content, target)
    _check_receipt(receipt, run)
    storage.write(f"{folder}/{BUDGET_CSV}", layer_csv(layers).encode())
    storage.write(f"{folder}/{BUDGET_JSON}", layer_json(layers).encode())
    storage.write(f"{folder}/{EXPERIMENT}", experiment.model_dump_json(indent=2).encode())
    storage.write(f"{folder}/{RECEIPT}", receipt.model_dump_json(indent=2).encode())
    return Package(folder=folder, model=model, receipt=receipt)


def baked_model(
    experiment: Experiment, storage: SweepStorage, images: Images, run: RunRecord
) -> nn.Module:
    """Return the model of a finished run with plain dense weights, on the CPU, for evaluation."""
    assert run.finished is not None
    model = sparse_model(experiment, run.proposed.settings, images.num_classes, images.input_shape)
    model.load_state_dict(load_checkpoint(storage.path(run.finished.checkpoint))["model"])
    return bake(model).eval()


def recount(weights: dict[str, Tensor], layers: tuple[LayerRow, ...]) -> tuple[LayerRow, ...]:
    """Return ``layers`` with zeros and MACs counted anew from ``weights``."""
    return tuple(_recounted(weights[layer.parameter], layer) for layer in layers)


def label(target: float | None) -> str:
    """Return the name of a target in folders and aliases: ``sparsity-95``, ``sparsity-98-5``."""
    if target is None:
        return "single"
    return "sparsity-" + f"{target * 100:.8g}".replace(".", "-")


def read_receipt(folder: Path) -> Receipt:
    """Read the receipt of a package.

    Raises:
        CheckpointError: It is damaged.
    """
    try:
        return Receipt.model_validate_json((folder / RECEIPT).read_text(encoding="utf-8"))
    except ValidationError as error:
        raise CheckpointError(f"{folder / RECEIPT} is damaged: {error}") from error


def _receipt(
    experiment: Experiment,
    run: RunRecord,
    layers: tuple[LayerRow, ...],
    content: bytes,
    target: float | None,
) -> Receipt:
    assert run.finished is not None
    return Receipt(
        target=target,
        sparsity=_sum(layers, "zeros") / _sum(layers, "weights"),
        zeros=_sum(layers, "zeros"),
        weights=_sum(layers, "weights"),
        macs=_sum(layers, "macs"),
        dense_macs=_sum(layers, "dense_macs"),
        accuracy=run.finished.metrics["accuracy"],
        mode=experiment.sparsity.mode,
        settings=run.proposed.settings,
        sweep_id=experiment.sweep_id,
        run_id=run.run_id,
        weights_sha256=hashlib.sha256(content).hexdigest(),
    )


def _recounted(weight: Tensor, layer: LayerRow) -> LayerRow:
    zeros = int((weight == 0).sum())
    positions = layer.dense_macs // layer.weights
    return layer.model_copy(
        update={
            "zeros": zeros,
            "weights": weight.numel(),
            "sparsity": zeros / weight.numel(),
            "macs": (weight.numel() - zeros) * positions,
        }
    )


def _contiguous(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in state.items()}


def _sum(layers: tuple[LayerRow, ...], field: str) -> int:
    return sum(getattr(layer, field) for layer in layers)


def _check_receipt(receipt: Receipt, run: RunRecord) -> None:
    assert run.finished is not None
    measured = sum(layer.zeros for layer in run.finished.layers)
    if receipt.zeros != measured:
        raise StrsweepError(
            f"{run.run_id}: the weights file holds {receipt.zeros} zeros, but training measured "
            f"{measured}: the checkpoint was changed after training"
        )

"""A trained run as files that need nothing of ours: dense weights, layer budget and receipt."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import load, save
from torch import Tensor, nn

from strsweep.config import Experiment, RunSettings, Target
from strsweep.data import Images
from strsweep.errors import CheckpointError, StrsweepError
from strsweep.journal import LayerRow, ModelLanded, RunFinished, RunRecord
from strsweep.registry.layer_table import layer_csv, layer_json
from strsweep.sparsity import bake
from strsweep.storage import SweepStorage
from strsweep.training.checkpoint import load_checkpoint
from strsweep.training.network import sparse_model

WEIGHTS, RECEIPT, EXPERIMENT = "weights.safetensors", "receipt.json", "experiment.json"
BUDGET_CSV, BUDGET_JSON = "budget.csv", "budget.json"
PACKAGE_FILES = (WEIGHTS, BUDGET_CSV, BUDGET_JSON, EXPERIMENT, RECEIPT)

_Source = RunFinished | ModelLanded
"""Both have a checkpoint, and the layers and metrics of what it holds."""


class LandedFrom(BaseModel):
    """What a model was as its run trained it, before its thresholds were shifted to the target."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shift: float
    """Added to the argument of every threshold function."""
    sparsity_before: float
    macs_before: int
    accuracy_before: float


class Receipt(BaseModel):
    """What is in the weights file, counted from the file itself, and where it comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: Target | None
    """What was asked for; None for a single run."""
    sparsity: float
    """Share of exact zeros among convolution and linear weights."""
    zeros: int
    weights: int
    macs: int
    """Multiply-adds of one input that are left."""
    dense_macs: int
    accuracy: float
    """On the validation images, of what is in the file."""
    landed: LandedFrom | None = None
    """None if the file holds what training ended with."""
    mode: str
    """How it became sparse: the ``sparsity.mode`` of the experiment."""
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
    target: Target | None,
    landed: ModelLanded | None = None,
) -> Package:
    """Bake a finished run, write its files, and count again from what was written.

    Args:
        experiment: How the run was trained.
        storage: Of the sweep.
        images: The data of the experiment, opened once for all packages.
        run: A finished run.
        target: What it is delivered for; None for a single run.
        landed: The run after landing; None to package what training ended with.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        StrsweepError: The file does not hold what was measured.
    """
    assert run.finished is not None
    source = landed or run.finished
    folder = f"models/{label(target)}/{run.run_id}"
    model = _baked(experiment, storage, images, run.proposed.settings, source)
    storage.write(f"{folder}/{WEIGHTS}", save(_contiguous(model.state_dict())))
    content = storage.read(f"{folder}/{WEIGHTS}")
    layers = recount(load(content), source.layers)
    receipt = _receipt(experiment, run, source, layers, content, target=target)
    _check_receipt(receipt, source)
    storage.write(f"{folder}/{BUDGET_CSV}", layer_csv(layers).encode())
    storage.write(f"{folder}/{BUDGET_JSON}", layer_json(layers).encode())
    storage.write(f"{folder}/{EXPERIMENT}", experiment.model_dump_json(indent=2).encode())
    storage.write(f"{folder}/{RECEIPT}", receipt.model_dump_json(indent=2).encode())
    return Package(folder=folder, model=model, receipt=receipt)


def recount(weights: dict[str, Tensor], layers: tuple[LayerRow, ...]) -> tuple[LayerRow, ...]:
    """Return ``layers`` with zeros and MACs counted anew from ``weights``."""
    return tuple(_recounted(weights[layer.parameter], layer) for layer in layers)


def label(target: Target | None) -> str:
    """Return the name of a target in folders and aliases; ``single`` for a run without one."""
    return "single" if target is None else target.label


def read_receipt(folder: Path) -> Receipt:
    """Read the receipt of a package.

    Raises:
        CheckpointError: It is damaged.
    """
    try:
        return Receipt.model_validate_json((folder / RECEIPT).read_text(encoding="utf-8"))
    except ValidationError as error:
        raise CheckpointError(f"{folder / RECEIPT} is damaged: {error}") from error


def _baked(
    experiment: Experiment,
    storage: SweepStorage,
    images: Images,
    settings: RunSettings,
    source: _Source,
) -> nn.Module:
    """Return the model with plain dense weights, on the CPU, for evaluation."""
    model = sparse_model(experiment, settings, images.num_classes, images.input_shape)
    model.load_state_dict(load_checkpoint(storage.path(source.checkpoint))["model"])
    return bake(model).eval()


def _receipt(
    experiment: Experiment,
    run: RunRecord,
    source: _Source,
    layers: tuple[LayerRow, ...],
    content: bytes,
    *,
    target: Target | None,
) -> Receipt:
    return Receipt(
        target=target,
        sparsity=_sum(layers, "zeros") / _sum(layers, "weights"),
        zeros=_sum(layers, "zeros"),
        weights=_sum(layers, "weights"),
        macs=_sum(layers, "macs"),
        dense_macs=_sum(layers, "dense_macs"),
        accuracy=source.metrics["accuracy"],
        landed=_landed_from(run, source),
        mode=experiment.sparsity.mode,
        settings=run.proposed.settings,
        sweep_id=experiment.sweep_id,
        run_id=run.run_id,
        weights_sha256=hashlib.sha256(content).hexdigest(),
    )


def _landed_from(run: RunRecord, source: _Source) -> LandedFrom | None:
    if isinstance(source, RunFinished):
        return None
    assert run.finished is not None
    return LandedFrom(
        shift=source.shift,
        sparsity_before=run.finished.metrics["sparsity"],
        macs_before=int(run.finished.metrics["macs"]),
        accuracy_before=run.finished.metrics["accuracy"],
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


def _check_receipt(receipt: Receipt, source: _Source) -> None:
    measured = _sum(source.layers, "zeros")
    if receipt.zeros != measured:
        raise StrsweepError(
            f"{receipt.run_id}: the weights file holds {receipt.zeros} zeros, but {measured} were "
            f"measured: the checkpoint {source.checkpoint} was changed since"
        )

"""A trained run as files that need nothing of ours: dense weights, layer budget and receipt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from strsweep.config import Experiment
from strsweep.errors import ExportError, StrsweepError
from strsweep.export.exported_file import Inputs, tensors_in
from strsweep.journal import LayerRow, ModelLanded, RunFinished, RunRecord
from strsweep.registry.finished_model import plain_network
from strsweep.registry.layer_table import layer_csv, layer_json
from strsweep.registry.receipt import (
    BUDGET_CSV,
    BUDGET_JSON,
    EXAMPLE,
    EXPERIMENT,
    RECEIPT,
    WEIGHTS,
    LandedFrom,
    Receipt,
    label,
)
from strsweep.settings import Metric, RunSettings, Target
from strsweep.sparsity.convert import bake
from strsweep.storage import Store
from strsweep.tasks import Task
from strsweep.training.checkpoint import load_checkpoint
from strsweep.training.network import sparse_model

_Source = RunFinished | ModelLanded
"""Both have a checkpoint, and the layers and metrics of what it holds."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """The files of one model, and the model they hold."""

    folder: str
    """Relative to the sweep."""
    model: nn.Module
    """Plain and dense: the pruned weights are zeros."""
    receipt: Receipt
    inputs: Inputs
    """Arguments of the model for two validation samples, each of shape [2, ...]."""
    outputs: Inputs
    """The tensors that the model returns for them."""


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """What a run is packaged for."""

    target: Target | None
    """What it is delivered for; None for a single run."""
    metric: Metric
    """What its score is a value of."""
    model_options: dict[str, Any]
    """What the data gave to the model's factory."""
    landed: ModelLanded | None = None
    """The run after landing; None to package what training ended with."""
    dense_score: float | None = None
    """Of the dense network of the same recipe; None if it was not trained."""


def package(
    experiment: Experiment,
    storage: Store,
    task: Callable[[], Task],
    run: RunRecord,
    purpose: Purpose,
) -> Package:
    """Bake a finished run, write its files, and count again from what was written.

    A whole package of the same run is used as it is, without the data and without a checkpoint.

    Args:
        experiment: How the run was trained.
        storage: Of the sweep.
        task: Opens the data of the experiment.
        run: A finished run.
        purpose: What it is for.

    Raises:
        CheckpointError: The checkpoint cannot be read.
        SettingError: The data is not there.
        StorageError: The storage refuses, or stayed away too long.
        StrsweepError: The file does not hold what was measured.
    """
    assert run.finished is not None
    source = purpose.landed or run.finished
    found = _found(experiment, storage, _folder(run, purpose.target), source, purpose)
    return found or _made(experiment, storage, task(), run, source, purpose)


def _folder(run: RunRecord, target: Target | None) -> str:
    return f"models/{label(target)}/{run.run_id}"


def _made(
    experiment: Experiment,
    storage: Store,
    task: Task,
    run: RunRecord,
    source: _Source,
    purpose: Purpose,
) -> Package:
    folder = _folder(run, purpose.target)
    model = _baked(experiment, storage, task, run.settings, source)
    storage.write(f"{folder}/{WEIGHTS}", save(_contiguous(model.state_dict())))
    content = storage.read(f"{folder}/{WEIGHTS}")
    layers = _recounted_layers(load(content), source.layers)
    receipt = _receipt(experiment, run, source, layers, content, purpose)
    _check_receipt(receipt, source)
    inputs = example_inputs(task)
    with torch.no_grad():
        outputs = tuple(tensors_in(model(*inputs)))
    files = {
        BUDGET_CSV: layer_csv(layers).encode(),
        BUDGET_JSON: layer_json(layers).encode(),
        EXPERIMENT: experiment.model_dump_json(indent=2).encode(),
        EXAMPLE: save(_named(inputs, "input") | _named(outputs, "output")),
        RECEIPT: receipt.model_dump_json(indent=2).encode(),  # the last one: it says that all are
    }
    for name, text in files.items():
        storage.write(f"{folder}/{name}", text)
    return Package(folder=folder, model=model, receipt=receipt, inputs=inputs, outputs=outputs)


def _found(
    experiment: Experiment, storage: Store, folder: str, source: _Source, purpose: Purpose
) -> Package | None:
    """Return the package that an earlier job wrote of the same run; None if there is none.

    The dense network may have been trained since: its score is added to the receipt.
    """
    try:
        receipt = Receipt.model_validate_json(storage.read(f"{folder}/{RECEIPT}"))
        content, example = (storage.read(f"{folder}/{name}") for name in (WEIGHTS, EXAMPLE))
    except (FileNotFoundError, ValidationError):
        return None
    if not _is_of(receipt, source):
        return None
    try:
        if hashlib.sha256(content).hexdigest() != receipt.weights_sha256:
            raise SafetensorError("its checksum is not that of the receipt")
        shown = load(example)
        model = plain_network(experiment, load(content), receipt.model_options)
    except (SafetensorError, RuntimeError) as error:
        print(f"{storage.uri(folder)} is damaged and is written again: {error}", flush=True)
        return None
    if receipt.dense_score != purpose.dense_score:
        receipt = receipt.model_copy(update={"dense_score": purpose.dense_score})
        storage.write(f"{folder}/{RECEIPT}", receipt.model_dump_json(indent=2).encode())
    return Package(
        folder=folder,
        model=model,
        receipt=receipt,
        inputs=_values(shown, "input"),
        outputs=_values(shown, "output"),
    )


def _is_of(receipt: Receipt, source: _Source) -> bool:
    shift = None if isinstance(source, RunFinished) else source.shift
    return (
        receipt.score == receipt.metric.of(source.metrics)
        and receipt.zeros == _sum(source.layers, "zeros")
        and (None if receipt.landed is None else receipt.landed.shift) == shift
    )


def example_inputs(task: Task) -> Inputs:
    """Return the arguments of the model for two validation samples.

    Two, as torch.export would freeze a batch of one into the program.

    Raises:
        ExportError: They are no tensors.
    """
    inputs = task.inputs(task.collate([task.val[index] for index in (0, 1)]))
    if not all(isinstance(value, Tensor) for value in inputs):
        raise ExportError("a program takes tensors, and the model of this task takes others")
    return inputs


def _named(values: Inputs, kind: str) -> dict[str, Tensor]:
    return {f"{kind}.{index}": value.contiguous() for index, value in enumerate(values)}


def _values(shown: dict[str, Tensor], kind: str) -> Inputs:
    names = sorted(name for name in shown if name.startswith(f"{kind}."))
    return tuple(shown[name] for name in names)


def _baked(
    experiment: Experiment,
    storage: Store,
    task: Task,
    settings: RunSettings,
    source: _Source,
) -> nn.Module:
    """Return the model with plain dense weights, on the CPU, for evaluation."""
    model = sparse_model(experiment, settings, task)
    model.load_state_dict(load_checkpoint(storage, source.checkpoint)["model"])
    return bake(model).eval()


def _receipt(
    experiment: Experiment,
    run: RunRecord,
    source: _Source,
    layers: tuple[LayerRow, ...],
    content: bytes,
    purpose: Purpose,
) -> Receipt:
    return Receipt(
        target=purpose.target,
        sparsity=_sum(layers, "zeros") / _sum(layers, "weights"),
        zeros=_sum(layers, "zeros"),
        weights=_sum(layers, "weights"),
        macs=_sum(layers, "macs"),
        dense_macs=_sum(layers, "dense_macs"),
        metric=purpose.metric,
        model_options=purpose.model_options,
        score=purpose.metric.of(source.metrics),
        dense_score=purpose.dense_score,
        landed=_landed_from(run, source, purpose.metric),
        mode=experiment.sparsity.mode,
        method=experiment.method,
        settings=run.settings,
        sweep_id=experiment.sweep_id,
        run_id=run.run_id,
        weights_sha256=hashlib.sha256(content).hexdigest(),
    )


def _landed_from(run: RunRecord, source: _Source, metric: Metric) -> LandedFrom | None:
    if isinstance(source, RunFinished):
        return None
    assert run.finished is not None
    return LandedFrom(
        shift=source.shift,
        sparsity_before=run.finished.metrics["sparsity"],
        macs_before=int(run.finished.metrics["macs"]),
        score_before=metric.of(run.finished.metrics),
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


def _recounted_layers(
    weights: dict[str, Tensor], layers: tuple[LayerRow, ...]
) -> tuple[LayerRow, ...]:
    """Return ``layers`` with zeros and MACs counted anew from ``weights``."""
    return tuple(_recounted(weights[layer.parameter], layer) for layer in layers)


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

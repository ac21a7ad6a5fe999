"""A trained run as files that need nothing of ours: dense weights, layer budget and receipt."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from strsweep.config import Experiment
from strsweep.errors import StrsweepError
from strsweep.export import Inputs, owned_state, tensors_in
from strsweep.journal import LayerRow, ModelLanded, RunFinished, RunRecord, SweepRecord
from strsweep.models.start import load_weights
from strsweep.packages import receipt as files
from strsweep.packages.receipt import LandedFrom, Receipt, label
from strsweep.search.outcome import dense_score
from strsweep.search.runs import read_state
from strsweep.settings import Target
from strsweep.sparsity.convert import bake
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.lowrank import saved, singular_values
from strsweep.storage import storage_of
from strsweep.tasks import Task, task_of
from strsweep.training.checkpoints import load_checkpoint
from strsweep.training.network import dense_model, make_sparse, plain_network
from strsweep.training.problem import check_identity, structure_of
from strsweep.training.rehearsal import example_inputs

_Source = RunFinished | ModelLanded


@dataclass(frozen=True, kw_only=True)
class Package:
    """The files of one model, and the model they hold."""

    folder: str
    """Relative to the sweep."""
    model: nn.Module
    """Plain and dense: the pruned weights are zeros."""
    receipt: Receipt
    inputs: Inputs
    """Arguments of the model for two validation samples, each of shape [2, ...]; none if they are
    no tensors."""
    outputs: Inputs
    """The tensors that the model returns for them."""


class Packager:
    """Writes the packages of a sweep, which was started."""

    def __init__(self, experiment: Experiment, record: SweepRecord) -> None:
        assert record.problem is not None
        self._experiment, self._record, self._problem = experiment, record, record.problem
        self._storage = storage_of(experiment)
        self.dense_score = dense_score(read_state(record, experiment))
        """Of the dense network of the same recipe; None if it was not trained."""

    @cached_property
    def _task(self) -> Task:
        task = task_of(self._experiment)
        check_identity(self._experiment, self._problem, {"data": task.describe()})
        return task

    def package(self, run_id: str, target: Target | None) -> Package:
        """Bake a finished run, write its files, and count again from what was written.

        It is packaged as it was landed on ``target``, else as training ended. A whole package of
        the same run is used as it is, without the data and without a checkpoint.

        Args:
            run_id: Of a finished run.
            target: What it is delivered for; None for a single run.

        Raises:
            CheckpointError: The checkpoint cannot be read.
            SettingError: Data or model are not there, or other than the sweep was begun with.
            StorageError: The storage refuses, or stayed away too long.
            StrsweepError: The file does not hold what was measured.
        """
        run = self._record.runs[run_id]
        source = self._record.result(run_id, target)
        assert source is not None
        folder = f"models/{label(target)}/{run_id}"
        return self._found(folder, source) or self._made(folder, run, target, source)

    def _found(self, folder: str, source: _Source) -> Package | None:
        """Return the package that an earlier job wrote of the same run; None if there is none.

        The dense network may have been trained since: its score is added to the receipt.
        """
        names = (*files.PACKAGE_FILES, files.EXAMPLE)
        try:
            found = {name: self._storage.read(f"{folder}/{name}") for name in names}
            receipt = Receipt.model_validate_json(found[files.RECEIPT])
        except (FileNotFoundError, ValidationError):
            return None
        content, example = found[files.WEIGHTS], found[files.EXAMPLE]
        if not _is_of(receipt, source):
            return None
        try:
            if hashlib.sha256(content).hexdigest() != receipt.weights_sha256:
                raise SafetensorError("its checksum is not that of the receipt")
            shown = load(example)
            model = plain_network(self._experiment, load(content), receipt.model_options)
        except (SafetensorError, RuntimeError) as error:
            place = self._storage.uri(folder)
            print(f"{place} is damaged and is written again: {error}", flush=True)
            return None
        if receipt.dense_score != self.dense_score:
            receipt = receipt.model_copy(update={"dense_score": self.dense_score})
            self._write(folder, files.RECEIPT, receipt.model_dump_json(indent=2).encode())
        inputs, outputs = (_values(shown, kind) for kind in ("input", "output"))
        return Package(folder=folder, model=model, receipt=receipt, inputs=inputs, outputs=outputs)

    def _made(self, folder: str, run: RunRecord, target: Target | None, source: _Source) -> Package:
        model = dense_model(self._experiment, self._task)
        check_identity(self._experiment, self._problem, {"model": structure_of(model)})
        make_sparse(model, self._experiment, run.settings, self._task)
        load_weights(model, load_checkpoint(self._storage, source.checkpoint)["model"])
        model = bake(model).eval()
        self._write(folder, files.WEIGHTS, save(owned_state(model)))
        content = self._storage.read(f"{folder}/{files.WEIGHTS}")
        computed = {weight.parameter: weight.value for weight in weight_tensors(model)}
        layers = _recounted(computed | load(content), source.layers)
        receipt = self._receipt(run, target, source, layers, content)
        if receipt.zeros != (measured := _sum(source.layers, "zeros")):
            raise StrsweepError(
                f"{run.run_id}: the weights file holds {receipt.zeros} zeros, but {measured} were "
                f"measured: the checkpoint {source.checkpoint} was changed since"
            )
        inputs = example_inputs(self._task)
        with torch.no_grad():
            outputs = tuple(tensors_in(model(*inputs))) if inputs else ()
        example = save(_named(inputs, "input") | _named(outputs, "output"))
        self._write(folder, files.BUDGET_CSV, files.layer_csv(layers).encode())
        self._write(folder, files.BUDGET_JSON, files.layer_json(layers).encode())
        self._write(folder, files.EXPERIMENT, self._experiment.model_dump_json(indent=2).encode())
        self._write(folder, files.EXAMPLE, example)
        # The last one: it says that all are there.
        self._write(folder, files.RECEIPT, receipt.model_dump_json(indent=2).encode())
        return Package(folder=folder, model=model, receipt=receipt, inputs=inputs, outputs=outputs)

    def _write(self, folder: str, name: str, content: bytes) -> None:
        self._storage.write(f"{folder}/{name}", content)

    def _receipt(
        self,
        run: RunRecord,
        target: Target | None,
        source: _Source,
        layers: tuple[LayerRow, ...],
        content: bytes,
    ) -> Receipt:
        metric, experiment = self._problem.metric, self._experiment
        landed = None
        if isinstance(source, ModelLanded) and run.finished is not None:
            before = run.finished.metrics
            landed = LandedFrom(
                shift=source.shift,
                sparsity_before=before["sparsity"],
                macs_before=int(before["macs"]),
                rank_before=int(before.get("rank", 0)),
                score_before=metric.of(before),
            )
        counts = {key: _sum(layers, key) for key in ("zeros", "weights", "macs", "dense_macs")}
        return Receipt(
            target=target,
            sparsity=counts["zeros"] / counts["weights"],
            **counts,
            metric=metric,
            model_options=self._problem.model_options,
            score=metric.of(source.metrics),
            dense_score=self.dense_score,
            landed=landed,
            mode=experiment.sparsity.mode,
            method=experiment.method,
            settings=run.settings,
            sweep_id=experiment.sweep_id,
            run_id=run.run_id,
            weights_sha256=hashlib.sha256(content).hexdigest(),
        )


def _is_of(receipt: Receipt, source: _Source) -> bool:
    shift = source.shift if isinstance(source, ModelLanded) else None
    return (
        receipt.score == receipt.metric.of(source.metrics)
        and receipt.zeros == _sum(source.layers, "zeros")
        and (None if receipt.landed is None else receipt.landed.shift) == shift
    )


def _named(values: Inputs, kind: str) -> dict[str, Tensor]:
    return {f"{kind}.{index}": value.contiguous() for index, value in enumerate(values)}


def _values(shown: dict[str, Tensor], kind: str) -> Inputs:
    return tuple(shown[name] for name in sorted(shown) if name.startswith(f"{kind}."))


def _sum(layers: tuple[LayerRow, ...], field: str) -> int:
    return sum(getattr(layer, field) for layer in layers)


def _recounted(weights: dict[str, Tensor], layers: tuple[LayerRow, ...]) -> tuple[LayerRow, ...]:
    """Return ``layers`` with zeros, MACs and ranks counted anew from ``weights``."""
    rows: list[LayerRow] = []
    for layer in layers:
        size = layer.weights
        zeros = saved(weights, layer.parameter, size)
        macs = (size - zeros) * (layer.dense_macs // size)
        counted: dict[str, Any] = {"zeros": zeros, "sparsity": zeros / size, "macs": macs}
        if layer.rank is not None:
            counted["singular_values"] = singular_values(weights, layer.parameter)[: layer.rank]
        rows.append(layer.model_copy(update=counted))
    return tuple(rows)

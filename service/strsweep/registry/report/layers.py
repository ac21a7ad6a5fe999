"""The layers of every delivered model, or of every pruned run where nothing was delivered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from strsweep.journal import LayerRow, SweepRecord
from strsweep.registry.receipt import Receipt
from strsweep.registry.report.runs import model_name


@dataclass(frozen=True, kw_only=True)
class ModelLayer:
    """One layer of one model."""

    model: str
    """Target, or run id where the model was not delivered for one."""
    run_id: str
    name: str
    parameter: str
    weights: int
    zeros: int
    sparsity: float
    dense_macs: int
    macs: int
    macs_share: float
    """Of the multiply-adds that the whole model has left."""
    threshold: float | None


def model_layers(record: SweepRecord, receipts: Sequence[Receipt]) -> tuple[ModelLayer, ...]:
    """Return the layers of all delivered models, model by model, from input to output."""
    models = [
        (model_name(receipt), receipt.run_id, _delivered(record, receipt)) for receipt in receipts
    ]
    if not models:
        models = [
            (run.run_id, run.run_id, run.finished.layers)
            for run in record.finished_runs
            if run.finished is not None and not run.settings.is_dense
        ]
    return tuple(layer for name, run_id, rows in models for layer in _layers(name, run_id, rows))


def _delivered(record: SweepRecord, receipt: Receipt) -> tuple[LayerRow, ...]:
    finished = record.runs[receipt.run_id].finished
    assert finished is not None
    if receipt.landed is None or receipt.target is None:
        return finished.layers
    return record.landed[receipt.target, receipt.run_id].layers


def _layers(model: str, run_id: str, rows: Sequence[LayerRow]) -> list[ModelLayer]:
    total = sum(row.macs for row in rows) or 1
    return [
        ModelLayer(
            model=model,
            run_id=run_id,
            name=row.name,
            parameter=row.parameter,
            weights=row.weights,
            zeros=row.zeros,
            sparsity=row.zeros / row.weights,
            dense_macs=row.dense_macs,
            macs=row.macs,
            macs_share=row.macs / total,
            threshold=row.threshold,
        )
        for row in rows
    ]

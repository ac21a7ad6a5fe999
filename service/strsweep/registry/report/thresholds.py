"""The thresholds of every delivered model while it was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from strsweep.journal import RunRecord, SweepRecord
from strsweep.registry.receipt import Receipt
from strsweep.registry.report.runs import model_name


@dataclass(frozen=True, kw_only=True)
class ThresholdRow:
    """One layer after one epoch."""

    model: str
    """Target, or run id where the model was not delivered for one."""
    run_id: str
    epoch: int
    name: str
    """Of the layer."""
    threshold: float


def threshold_rows(record: SweepRecord, receipts: Sequence[Receipt]) -> tuple[ThresholdRow, ...]:
    """Return model by model and epoch by epoch what the layers had; dense ones have nothing.

    Landing shifts the thresholds once more after the last epoch.
    """
    return tuple(
        row
        for receipt in receipts
        for row in _rows(model_name(receipt), record.runs[receipt.run_id])
    )


def _rows(model: str, run: RunRecord) -> list[ThresholdRow]:
    assert run.finished is not None
    names = [layer.name for layer in run.finished.layers]
    return [
        ThresholdRow(model=model, run_id=run.run_id, epoch=epoch, name=name, threshold=threshold)
        for epoch, row in sorted(run.epochs.items())
        for name, threshold in zip(names, row.thresholds, strict=True)
        if threshold is not None
    ]

"""What is in a package, and what its receipt says."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from strsweep.errors import CheckpointError
from strsweep.journal import LayerRow
from strsweep.settings import Metric, RunSettings, Section, Target, percent

WEIGHTS, RECEIPT, EXPERIMENT = "weights.safetensors", "receipt.json", "experiment.json"
BUDGET_CSV, BUDGET_JSON = "budget.csv", "budget.json"
PACKAGE_FILES = (WEIGHTS, BUDGET_CSV, BUDGET_JSON, EXPERIMENT, RECEIPT)
EXAMPLE = "example.safetensors"
"""Two validation samples and what the model returns: it can be registered where no data is."""
_NAMES = ("name", "parameter", "weights", "zeros", "sparsity", "density")
_COLUMNS = (*_NAMES, "dense_macs", "macs", "threshold")
"""Of the layer budget."""
_RANKS = ("rank", "full_rank", "singular_values")
"""Of one where ranks were learned; the last is a list, for JSON."""


class LandedFrom(Section, frozen=True):
    """What a model was as its run trained it, before its thresholds were shifted to the target."""

    shift: float
    """Added to the argument of every threshold function."""
    sparsity_before: float
    macs_before: int
    rank_before: int = 0
    """Sum of the ranks, where they are learned."""
    score_before: float


class Receipt(Section, frozen=True):
    """What is in the weights file, counted from the file itself, and where it comes from."""

    target: Target | None
    """What was asked for; None for a single run."""
    sparsity: float
    """Share of exact zeros among convolution and linear weights."""
    zeros: int
    weights: int
    macs: int
    """Multiply-adds of one input that are left."""
    dense_macs: int
    metric: Metric
    """What models of the sweep are judged by."""
    model_options: dict[str, Any]
    """What the data gave to the model's factory, such as the number of classes."""
    score: float
    """Of what is in the file, on the validation data."""
    dense_score: float | None = None
    """Of the dense network of the same recipe; None if it was not trained."""
    landed: LandedFrom | None = None
    """None if the file holds what training ended with."""
    mode: str
    """How it became sparse: the ``sparsity.mode`` of the experiment."""
    method: str
    """The mode with what sets it apart: which decay prunes, and whether the run led itself."""
    settings: RunSettings
    sweep_id: str
    run_id: str
    weights_sha256: str

    @property
    def against_dense(self) -> str:
        """The score beside that of the dense network, in words; empty if that is not known."""
        dense = self.dense_score
        return "" if dense is None else self.metric.against(self.score, dense)

    @property
    def score_text(self) -> str:
        """The score as a person reads it."""
        return self.metric.text(self.score)

    @property
    def trained_at(self) -> str:
        """Where the run ended before it was landed, in what was asked; empty without landing."""
        if self.landed is None:
            return ""
        if self.target is not None and self.target.rank is not None:
            return f"rank {self.landed.rank_before}"
        if self.target is None or self.target.quantity == "sparsity":
            return percent(self.landed.sparsity_before, 2)
        return f"{percent(self.landed.macs_before / self.dense_macs, 2)} MACs"


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


def layer_csv(layers: Sequence[LayerRow]) -> str:
    """Return one line per layer under a header; the threshold of a dense layer is empty."""
    text = io.StringIO()
    columns = [column for column in _columns(layers) if column != "singular_values"]
    writer: csv.DictWriter[str] = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(layer, columns) for layer in layers)
    return text.getvalue()


def layer_json(layers: Sequence[LayerRow]) -> str:
    """Return the same rows as a JSON list of objects."""
    columns = _columns(layers)
    return json.dumps([_row(layer, columns) for layer in layers], indent=2) + "\n"


def _columns(layers: Sequence[LayerRow]) -> tuple[str, ...]:
    return (*_COLUMNS, *_RANKS) if any(layer.rank is not None for layer in layers) else _COLUMNS


def _row(layer: LayerRow, columns: Sequence[str]) -> dict[str, object]:
    row: dict[str, object] = {**layer.model_dump(), "density": 1 - layer.zeros / layer.weights}
    return {column: row[column] for column in columns}

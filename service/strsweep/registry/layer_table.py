"""The layer budget as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from strsweep.journal import LayerRow

_COLUMNS = (
    "name",
    "parameter",
    "weights",
    "zeros",
    "sparsity",
    "density",
    "dense_macs",
    "macs",
    "threshold",
)


def layer_csv(layers: Sequence[LayerRow]) -> str:
    """Return one line per layer under a header; the threshold of a dense layer is empty."""
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_row(layer) for layer in layers)
    return text.getvalue()


def layer_json(layers: Sequence[LayerRow]) -> str:
    """Return the same rows as a JSON list of objects."""
    return json.dumps([_row(layer) for layer in layers], indent=2) + "\n"


def _row(layer: LayerRow) -> dict[str, object]:
    row: dict[str, object] = {**layer.model_dump(), "density": 1 - layer.zeros / layer.weights}
    return {column: row[column] for column in _COLUMNS}

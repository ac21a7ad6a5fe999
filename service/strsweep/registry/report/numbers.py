"""The numbers of the report for other programs: JSON of everything, CSV of every table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from strsweep.registry.report.contents import SweepContents

NUMBERS_JSON = "report.json"
_LONG = {"epochs", "layers"}


def number_files(contents: SweepContents) -> dict[str, bytes]:
    """Return ``report.json`` and a CSV each of runs, epochs, layers and receipts."""
    return {
        NUMBERS_JSON: as_json(as_values(contents)),
        "runs.csv": as_csv([vars(run) for run in contents.runs]),
        "epochs.csv": as_csv(contents.epochs),
        "layers.csv": as_csv([vars(layer) for layer in contents.layers]),
        "receipts.csv": as_csv([vars(model) for model in contents.models]),
    }


def as_values(contents: SweepContents) -> dict[str, Any]:
    """Return everything but the long tables, which are in their CSV files."""
    cost = contents.cost
    totals = {"one_each_hours": cost.one_each_hours, "ratio": cost.ratio}
    values = {key: value for key, value in vars(contents).items() if key not in _LONG}
    return values | {
        "targets": [vars(target) for target in contents.targets],
        "cost": vars(cost) | totals,
        "models": [vars(model) for model in contents.models],
        "runs": [vars(run) for run in contents.runs],
    }


def as_json(values: object) -> bytes:
    """Return ``values`` as readable JSON."""
    return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()


def as_csv(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Return one line per row under a header; what a row does not have is empty."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()

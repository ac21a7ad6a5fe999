"""The table of layer budgets as the authors of STR publish it (RAIVNLab/STR, budgets/).

A header, a row for all layers and one for all but the classifier, a row per layer, and a row for
the average pool. The first three columns are name, weights and dense multiply-adds; each further
one is a model, named by its overall sparsity, and holds sparsities in percent with two decimals.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

_HEADER = ("Metric", "Params", "FLOPs", "Sparsity (%)")
_POOL = "AP - adaptive average pool before fc"
_LAYER = re.compile(r"Layer \d+ - (.+)")

Row = tuple[str, int, int, float]
"""Layer name, weights, dense multiply-adds, sparsity in percent."""


def read_column(text: str, column: str) -> list[Row]:
    """Return the layers of the model that ``column`` names, e.g. ``"90.23"``.

    Raises:
        ValueError: The text is no such table, or has no such column.
    """
    rows = list(csv.reader(io.StringIO(text)))
    if len(rows) < 3 or rows[0][:3] != list(_HEADER[:3]) or rows[1][0] != "Overall":
        raise ValueError(f"this is not a budget table: it must start with {_HEADER} and 'Overall'")
    names = rows[1][3:]
    matching = [index for index, name in enumerate(names, 3) if name and _same(name, column)]
    if not matching:
        raise ValueError(f"the table has no model {column!r}; it has {[n for n in names if n]}")
    layers = [(match[1], row) for row in rows if (match := _LAYER.fullmatch(row[0]))]
    return [(name, int(row[1]), int(row[2]), float(row[matching[0]])) for name, row in layers]


def write_columns(
    layers: Sequence[tuple[str, int, int]], columns: Sequence[Sequence[float]], pool_macs: int
) -> str:
    """Return the table.

    Args:
        layers: Name, weights and dense multiply-adds of each, the classifier last.
        columns: For each model the sparsity of every layer in percent.
        pool_macs: Of the average pool: a row of its own, and part of the total.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_HEADER, *[""] * (len(columns) - 1)])
    writer.writerow(["Overall", *_totals(layers, columns, pool_macs)])
    writer.writerow(["Backbone", *_totals(layers[:-1], columns, 0)])
    for number, (name, weights, macs) in enumerate(layers, 1):
        cells = [_percent(column[number - 1]) for column in columns]
        writer.writerow([f"Layer {number} - {name}", weights, macs, *cells])
    writer.writerow([_POOL, 0, pool_macs, *["0"] * len(columns)])
    return "\ufeff" + text.getvalue()


def _totals(
    layers: Sequence[tuple[str, int, int]], columns: Sequence[Sequence[float]], pool_macs: int
) -> list[object]:
    weights = sum(layer[1] for layer in layers)
    overall = [
        sum(layer[1] * percent for layer, percent in zip(layers, column, strict=False)) / weights
        for column in columns
    ]
    return [weights, pool_macs + sum(layer[2] for layer in layers), *map(_percent, overall)]


def _percent(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _same(name: str, column: str) -> bool:
    try:
        return Decimal(name) == Decimal(column)  # "90.5" names the model "90.50"
    except InvalidOperation:
        return False

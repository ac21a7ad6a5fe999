"""The table of layer budgets as the authors of STR publish it (RAIVNLab/STR, budgets/).

A header, a row for all layers and one for all but the classifier, a row per layer, and a row for
the average pool. The first three columns are name, weights and dense multiply-adds; each further
one is a model, named by its overall sparsity, and holds sparsities in percent with two decimals.
"""

from __future__ import annotations

import csv
import io
import re
from decimal import Decimal, InvalidOperation

from strsweep.sparsity.layer_budget import LayerBudget

_HEADER = ("Metric", "Params", "FLOPs")
_LAYER = re.compile(r"Layer \d+ - (.+)")


def read_column(text: str, column: str) -> tuple[LayerBudget, ...]:
    """Return the layers of the model that ``column`` names, e.g. ``"90.23"``.

    Raises:
        ValueError: The text is no such table, or has no such column.
    """
    rows = list(csv.reader(io.StringIO(text)))
    if len(rows) < 3 or tuple(rows[0][:3]) != _HEADER or rows[1][0] != "Overall":
        raise ValueError(f"this is not a budget table: it must start with {_HEADER} and 'Overall'")
    names = rows[1][3:]
    matching = [index for index, name in enumerate(names, 3) if name and _same(name, column)]
    if not matching:
        raise ValueError(f"the table has no model {column!r}; it has {[n for n in names if n]}")
    layers = [(match[1], row) for row in rows if (match := _LAYER.fullmatch(row[0]))]
    return tuple(
        LayerBudget(
            name=name,
            weights=int(row[1]),
            dense_macs=int(row[2]),
            density=1 - float(row[matching[0]]) / 100,
        )
        for name, row in layers
    )


def _same(name: str, column: str) -> bool:
    try:
        return Decimal(name) == Decimal(column)  # "90.5" names the model "90.50"
    except InvalidOperation:
        return False

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

from strsweep.sparsity.layer_budget import LayerBudget

_HEADER = ("Metric", "Params", "FLOPs", "Sparsity (%)")
_POOL = "AP - adaptive average pool before fc"
_LAYER = re.compile(r"Layer \d+ - (.+)")


def read_column(text: str, column: str) -> tuple[LayerBudget, ...]:
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
    return tuple(
        LayerBudget(
            name=name,
            weights=int(row[1]),
            dense_macs=int(row[2]),
            density=1 - float(row[matching[0]]) / 100,
        )
        for name, row in layers
    )


def write_columns(models: Sequence[Sequence[LayerBudget]], pool_macs: int) -> str:
    """Return the table.

    Args:
        models: The layers of each, the classifier last.
        pool_macs: Of the average pool: a row of its own, and part of the total.

    Raises:
        ValueError: The models differ in their layers, or lack multiply-adds.
    """
    names = [_name(layer) for layer in models[0]]
    if any([_name(layer) for layer in model] != names for model in models):
        raise ValueError("the budgets are of different models")
    if any(layer.dense_macs is None for layer in models[0]):
        raise ValueError("the table needs multiply-adds: use with_macs() first")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_HEADER, *[""] * (len(models) - 1)])
    writer.writerow(["Overall", *_totals(models, pool_macs)])
    writer.writerow(["Backbone", *_totals([model[:-1] for model in models], 0)])
    for number, same in enumerate(zip(*models, strict=True), 1):
        cells = [_percent(100 * layer.sparsity) for layer in same]
        layer = same[0]
        writer.writerow([f"Layer {number} - {layer.name}", layer.weights, layer.dense_macs, *cells])
    writer.writerow([_POOL, 0, pool_macs, *["0"] * len(models)])
    return "\ufeff" + text.getvalue()


def _name(layer: LayerBudget) -> tuple[str, int, int | None]:
    return layer.name, layer.weights, layer.dense_macs


def _totals(models: Sequence[Sequence[LayerBudget]], pool_macs: int) -> list[object]:
    weights = sum(layer.weights for layer in models[0])
    macs = sum(layer.dense_macs or 0 for layer in models[0])
    overall = [
        100 * sum(layer.weights * layer.sparsity for layer in model) / weights for model in models
    ]
    return [weights, macs + pool_macs, *map(_percent, overall)]


def _percent(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _same(name: str, column: str) -> bool:
    try:
        return Decimal(name) == Decimal(column)  # "90.5" names the model "90.50"
    except InvalidOperation:
        return False

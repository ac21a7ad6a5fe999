"""Layers of a budget, and the tables that they are read from: ours, and those of STR's authors."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from strsweep.sparsity.layers import weight_tensors

_AUTHORS_HEADER = ["Metric", "Params", "FLOPs"]
_AUTHORS_LAYER = re.compile(r"Layer \d+ - (.+)")
_MOST = 2**63
"""Weights and multiply-adds of a layer are fewer."""
_ROUNDED = 5e-5
"""A share in their tables, in hundredths of a percent, may be off by so much."""


@dataclass(frozen=True, kw_only=True)
class LayerBudget:
    """What one layer may keep."""

    name: str
    weights: int
    density: float
    """Share of weights that stay, in [0, 1]."""
    dense_macs: int | None = None
    """Multiply-adds of the dense layer for one input."""

    def __post_init__(self) -> None:
        """Refuse what no layer can keep."""
        is_whole = 1 <= self.weights < _MOST and 0 <= (self.dense_macs or 0) < _MOST
        if not is_whole or not 0 <= self.density <= 1:
            told = f"{self.name}: {self.weights} weights at density {self.density}"
            raise ValueError(f"{told}, of {self.dense_macs} multiply-adds, is no layer budget")

    @property
    def sparsity(self) -> float:
        """Share of weights that are pruned."""
        return 1 - self.density


def rows_of(text: str) -> list[list[str]]:
    """Return the rows of a table that are not blank; the first one is the header."""
    try:
        rows = [row for row in csv.reader(io.StringIO(text)) if any(map(str.strip, row))]
    except csv.Error as error:
        raise ValueError(f"this is not a layer budget: {error}") from error
    if not rows:
        raise ValueError("this is not a layer budget: it is empty")
    return rows


def layers_of_rows(rows: Any) -> tuple[LayerBudget, ...]:
    """Return the layers of parsed JSON or CSV; further columns are left out."""
    try:
        return tuple(
            LayerBudget(
                name=_text(row["name"]),
                weights=int(row["weights"]),
                density=float(row["density"]),
                dense_macs=int(row["dense_macs"]) if row.get("dense_macs") else None,
            )
            for row in rows
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"this is not a layer budget: {error!r}") from error


def authors_column(rows: list[list[str]], column: str) -> tuple[LayerBudget, ...]:
    """Return one model of the authors' table that names the layers."""
    if len(rows) < 3 or rows[0][:3] != _AUTHORS_HEADER or rows[1][0] != "Overall":
        raise ValueError(
            f"this is not a budget table: it must start with {_AUTHORS_HEADER} and 'Overall', or "
            "with 'Layer'"
        )
    index = _column(rows[1], 3, column)
    layers = [
        LayerBudget(
            name=match[1],
            weights=_whole(row, 1),
            dense_macs=_whole(row, 2),
            density=1 - _percent(row, index) / 100,
        )
        for row in rows
        if (match := _AUTHORS_LAYER.fullmatch(row[0]))
    ]
    if not layers:
        raise ValueError("the table has no row 'Layer 1 - NAME'")
    kept = math.fsum(layer.weights * layer.density for layer in layers)
    off = 1 - _percent(rows[1], index) / 100 - kept / sum(layer.weights for layer in layers)
    # By a hair more than needed: a sum of floats must not fall back over the edge.
    shift = math.copysign(max(abs(off) - 0.99 * _ROUNDED, 0.0), off)
    if abs(shift) >= _ROUNDED:
        return tuple(layers)
    return tuple(replace(x, density=min(max(x.density + shift, 0.0), 1.0)) for x in layers)


def numbered_column(
    rows: list[list[str]], column: str, network: nn.Module
) -> tuple[LayerBudget, ...]:
    """Return one model of the authors' table that numbers the layers of ``network``."""
    index, weights = _column(rows[0], 1, column), weight_tensors(network)
    if [row[0] for row in rows[1:]] != [str(number + 1) for number in range(len(weights))]:
        raise ValueError(f"the table has not the {len(weights)} layers of the network, by number")
    return tuple(
        LayerBudget(
            name=weight.name,
            weights=weight.original.numel(),
            density=1 - _percent(row, index) / 100,
        )
        for weight, row in zip(weights, rows[1:], strict=True)
    )


def _column(names: list[str], start: int, wanted: str) -> int:
    known = {index: name for index, name in enumerate(names) if index >= start and name}
    found = [index for index, name in known.items() if _same(name, wanted)]
    if not found:
        raise ValueError(f"the table has no model {wanted!r}; it has {list(known.values())}")
    return found[0]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no name of a layer")
    return value


def _percent(row: list[str], index: int) -> float:
    if not 0 <= (share := _number(row, index)) <= 100:
        raise ValueError(f"the row {row[0]!r} has {share} % in column {index + 1}")
    return share


def _whole(row: list[str], index: int) -> int:
    if not math.isfinite(number := _number(row, index)):
        raise ValueError(f"the row {row[0]!r} has {number} in column {index + 1}")
    return int(number)


def _number(row: list[str], index: int) -> float:
    try:
        return float(row[index].removesuffix("%"))
    except (ValueError, IndexError) as error:
        raise ValueError(f"the row {row[0]!r} has no number in column {index + 1}") from error


def _same(name: str, column: str) -> bool:
    if name.lower() == column.lower():
        return True
    try:
        return math.isclose(float(name), float(column))  # "90.5" names the model "90.50"
    except ValueError:
        return False

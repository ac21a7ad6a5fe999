"""Layer budgets as values: which share of its weights every layer keeps, and where that is said."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from strsweep.sparsity.layers import WeightTensor, weight_tensors, without
from strsweep.sparsity.measure import measure
from strsweep.sparsity.products import Example

_AUTHORS_HEADER = ["Metric", "Params", "FLOPs"]
_AUTHORS_LAYER = re.compile(r"Layer \d+ - (.+)")
_MOST = 2**63 - 1
"""Weights and multiply-adds of a layer are no more."""
_ROUNDED = 5e-5
"""A share in the authors' tables, in hundredths of a percent, may be off by so much."""


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
        is_whole = 1 <= self.weights <= _MOST and 0 <= (self.dense_macs or 0) <= _MOST
        if not is_whole or not 0 <= self.density <= 1:
            told = f"{self.name}: {self.weights} weights at density {self.density}"
            raise ValueError(f"{told}, of {self.dense_macs} multiply-adds, is no layer budget")

    @property
    def sparsity(self) -> float:
        """Share of weights that are pruned."""
        return 1 - self.density


@dataclass(frozen=True)
class Budget:
    """The budget of one model, in the order of its layers."""

    layers: tuple[LayerBudget, ...]

    def __post_init__(self) -> None:
        """Refuse a budget of no layers, or with two of one name."""
        names = {layer.name for layer in self.layers}
        if not names or len(names) < len(self.layers):
            raise ValueError("a budget needs layers, each with a name of its own")

    @classmethod
    def of(cls, model: nn.Module, example: Example | None = None) -> Budget:
        """Return what ``model``, trained by any method, keeps in each layer."""
        layers = (
            LayerBudget(
                name=row.name,
                weights=row.weights,
                density=1 - row.sparsity,
                dense_macs=row.dense_macs,
            )
            for row in measure(model, example).layers
        )
        return cls(tuple(layers))

    @classmethod
    def uniform(cls, model: nn.Module, sparsity: float, *, dense: Sequence[str] = ()) -> Budget:
        """Give every layer of ``model`` the same density.

        Args:
            model: Names and sizes of the layers.
            sparsity: Wanted share of zeros over the whole model, in [0, 1).
            dense: Layers to leave dense, by name or shell pattern; the others make up for them.

        Raises:
            ValueError: The sparsity cannot be reached with these layers left dense.
        """
        return _allocated(model, sparsity, dense, lambda _: 1.0)

    @classmethod
    def erk(cls, model: nn.Module, sparsity: float, *, dense: Sequence[str] = ()) -> Budget:
        """Give every layer a density proportional to the sum over the product of its sides.

        This is the Erdos-Renyi-kernel rule of RigL (arXiv 1911.11134, section 3): small layers keep
        more. Layers that would keep more than all are dense, and the others make up for it.

        Arguments and errors are those of ``uniform``.
        """

        def share(weight: WeightTensor) -> float:
            return sum(weight.original.shape) / weight.original.numel()

        return _allocated(model, sparsity, dense, share)

    @property
    def weights(self) -> int:
        """Number of convolution and linear weights of the dense model."""
        return sum(layer.weights for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """Share of weights that are pruned, over all layers."""
        return 1 - math.fsum(row.weights * row.density for row in self.layers) / self.weights

    @property
    def densities(self) -> dict[str, float]:
        """Layer name -> density."""
        return {layer.name: layer.density for layer in self.layers}

    @classmethod
    def from_json(cls, text: str) -> Budget:
        """Read the ``budget.json`` of a published model.

        Raises:
            ValueError: It is not a list of layers with name, weights and density.
        """
        with _refused():
            return cls(tuple(map(_layer_of, json.loads(text))))

    @classmethod
    def from_csv(cls, text: str) -> Budget:
        """Read the ``budget.csv`` of a published model.

        Raises:
            ValueError: A column is missing or a cell is no number.
        """
        with _refused():
            rows = _rows_of(text)
            return cls(tuple(_layer_of(dict(zip(rows[0], row, strict=False))) for row in rows[1:]))

    @classmethod
    def from_authors_csv(
        cls, path: Path | str, column: str, network: Callable[[], nn.Module] | None = None
    ) -> Budget:
        """Read one model of a table in one of the two formats that the authors of STR publish.

        One names the layers: a row for all, one for all but the classifier, and a row per layer
        with name, weights, dense multiply-adds, and the sparsity in percent that it has in each
        model. These are rounded; where they add up to another number than the one for all, they
        are shifted by the least that does it, unless that is more than they were rounded by. The
        other table numbers the layers of one network, and has a column per method.

        Args:
            path: The table.
            column: What names the model: overall sparsity in percent, e.g. ``"90.23"``, or method,
                e.g. ``"ERK"``.
            network: Makes the network whose layers a table numbers.

        Raises:
            ValueError: The file is no such table, or has no such column.
        """
        text = Path(path).read_text(encoding="utf-8-sig")
        with _refused():
            rows = _rows_of(text)
        if rows[0][0] == "Layer":
            if network is None:
                raise ValueError("this table numbers its layers: say of which network")
            return _numbered_column(rows, column, network())
        return _named_column(rows, column)


def _allocated(
    model: nn.Module, sparsity: float, dense: Sequence[str], share: Callable[[WeightTensor], float]
) -> Budget:
    """Return densities in proportion to ``share`` for all but the ``dense`` layers."""
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity: got {sparsity}, use a fraction in [0, 1)")
    sizes = {weight: weight.original.numel() for weight in weight_tensors(model)}
    kept = (1 - sparsity) * sum(sizes.values())
    pruned, factor = without([*sizes], dense), 0.0
    while pruned:
        left = kept - sum(size for weight, size in sizes.items() if weight not in pruned)
        factor = left / math.fsum(share(weight) * sizes[weight] for weight in pruned)
        # A layer cannot keep more than all of its weights: the others then get less.
        fitting = [weight for weight in pruned if factor * share(weight) <= 1]
        if len(fitting) == len(pruned):
            break
        pruned = fitting
    if factor < 0 or (not pruned and abs(kept - sum(sizes.values())) > 0.5):
        stay = [weight.name for weight in sizes if weight not in pruned]
        raise ValueError(f"sparsity {sparsity:g} cannot be reached while {stay} stay dense")
    densities = [factor * share(weight) if weight in pruned else 1.0 for weight in sizes]
    return _budget_of(sizes, densities)


def _budget_of(weights: Iterable[WeightTensor], densities: Iterable[float]) -> Budget:
    return Budget(
        tuple(
            LayerBudget(name=weight.name, weights=weight.original.numel(), density=density)
            for weight, density in zip(weights, densities, strict=True)
        )
    )


@contextmanager
def _refused() -> Generator[None]:
    """Say of whatever a file holds that it is no budget."""
    try:
        yield
    except Exception as error:  # what is raised depends on what is there instead
        told = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        raise ValueError(f"this is not a layer budget: {told}") from error


def _rows_of(text: str) -> list[list[str]]:
    """Return the rows of a table that are not blank; the first one is the header."""
    rows = [row for row in csv.reader(io.StringIO(text)) if any(map(str.strip, row))]
    if not rows:
        raise ValueError("it is empty")
    return rows


def _layer_of(row: Any) -> LayerBudget:
    if not isinstance(row["name"], str):
        raise TypeError(f"{row['name']!r} is no name of a layer")
    return LayerBudget(
        name=row["name"],
        weights=int(row["weights"]),
        density=float(row["density"]),
        dense_macs=int(row["dense_macs"]) if row.get("dense_macs") else None,
    )


def _named_column(rows: list[list[str]], column: str) -> Budget:
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
            weights=int(_number(row, 1, _MOST)),
            dense_macs=int(_number(row, 2, _MOST)),
            density=1 - _number(row, index, 100) / 100,
        )
        for row in rows
        if (match := _AUTHORS_LAYER.fullmatch(row[0]))
    ]
    if not layers:
        raise ValueError("the table has no row 'Layer 1 - NAME'")
    budget = Budget(tuple(layers))
    off = budget.sparsity - _number(rows[1], index, 100) / 100
    # By a hair more than needed: a sum of floats must not fall back over the edge.
    shift = math.copysign(max(abs(off) - 0.99 * _ROUNDED, 0.0), off)
    if abs(shift) >= _ROUNDED:
        return budget
    return Budget(tuple(replace(x, density=min(max(x.density + shift, 0), 1)) for x in layers))


def _numbered_column(rows: list[list[str]], column: str, network: nn.Module) -> Budget:
    """Return one model of the authors' table that numbers the layers of ``network``."""
    index, weights = _column(rows[0], 1, column), weight_tensors(network)
    if [row[0] for row in rows[1:]] != [str(number + 1) for number in range(len(weights))]:
        raise ValueError(f"the table has not the {len(weights)} layers of the network, by number")
    return _budget_of(weights, (1 - _number(row, index, 100) / 100 for row in rows[1:]))


def _column(names: list[str], start: int, wanted: str) -> int:
    known = {index: name for index, name in enumerate(names) if index >= start and name}
    found = [index for index, name in known.items() if _same(name, wanted)]
    if not found:
        raise ValueError(f"the table has no model {wanted!r}; it has {list(known.values())}")
    return found[0]


def _same(name: str, column: str) -> bool:
    with suppress(ValueError):
        return math.isclose(float(name), float(column))  # "90.5" names the model "90.50"
    return name.lower() == column.lower()


def _number(row: list[str], index: int, most: float) -> float:
    """Return the number in a column of ``row``, percent or not, from 0 to ``most``."""
    place = f"in column {index + 1}"
    try:
        number = float(row[index].removesuffix("%"))
    except (ValueError, IndexError) as error:
        raise ValueError(f"the row {row[0]!r} has no number {place}") from error
    if not 0 <= number <= most:
        raise ValueError(f"the row {row[0]!r} has {number} {place}: it must be 0 to {most:g}")
    return number

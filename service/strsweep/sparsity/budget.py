"""Layer budgets as values: which share of its weights every layer keeps."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

from torch import nn

from strsweep.sparsity.allocation import allocate, check_fits, equal_share, sides_over_size
from strsweep.sparsity.layer_budget import LayerBudget, layers_of_rows
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.measure import Example, measure

_AUTHORS_HEADER = ("Metric", "Params", "FLOPs")
_AUTHORS_LAYER = re.compile(r"Layer \d+ - (.+)")


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
        return cls(
            tuple(
                LayerBudget(
                    name=layer.name,
                    weights=layer.weights,
                    density=1 - layer.sparsity,
                    dense_macs=layer.dense_macs,
                )
                for layer in measure(model, example).layers
            )
        )

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
        return _with_densities(model, allocate(model, sparsity, dense, equal_share))

    @classmethod
    def erk(cls, model: nn.Module, sparsity: float, *, dense: Sequence[str] = ()) -> Budget:
        """Give every layer a density proportional to the sum over the product of its sides.

        This is the Erdos-Renyi-kernel rule of RigL (arXiv 1911.11134, section 3): small layers keep
        more. Layers that would keep more than all are dense, and the others make up for it.

        Args:
            model: Names and shapes of the layers.
            sparsity: Wanted share of zeros over the whole model, in [0, 1).
            dense: Layers to leave dense, by name or shell pattern.

        Raises:
            ValueError: The sparsity cannot be reached with these layers left dense.
        """
        return _with_densities(model, allocate(model, sparsity, dense, sides_over_size))

    @property
    def weights(self) -> int:
        """Number of convolution and linear weights of the dense model."""
        return sum(layer.weights for layer in self.layers)

    @property
    def nonzeros(self) -> float:
        """Weights that stay; not whole where densities come from rounded percentages."""
        return math.fsum(layer.weights * layer.density for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """Share of weights that are pruned, over all layers."""
        return 1 - self.nonzeros / self.weights

    @property
    def dense_macs(self) -> int | None:
        """Multiply-adds of the dense model for one input; None if a layer's are not known."""
        counted = [layer.dense_macs for layer in self.layers if layer.dense_macs is not None]
        return sum(counted) if len(counted) == len(self.layers) else None

    @property
    def total_macs(self) -> float | None:
        """Multiply-adds that stay, as the paper counts them (appendix A.7)."""
        if self.dense_macs is None:
            return None
        return math.fsum((layer.dense_macs or 0) * layer.density for layer in self.layers)

    @property
    def densities(self) -> dict[str, float]:
        """Layer name -> density."""
        return {layer.name: layer.density for layer in self.layers}

    def with_macs(self, model: nn.Module, example: Example) -> Budget:
        """Return the same densities with the multiply-adds of ``model``.

        Raises:
            ValueError: The layers of ``model`` are not those of the budget.
        """
        check_fits(self.densities, model)
        measured = Budget.of(model, example)
        return Budget(
            tuple(replace(layer, density=self.densities[layer.name]) for layer in measured.layers)
        )

    @classmethod
    def from_json(cls, text: str) -> Budget:
        """Read the ``budget.json`` of a published model.

        Raises:
            ValueError: It is not a list of layers with name, weights and density.
        """
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"this is not a layer budget: {error}") from error
        return cls(layers_of_rows(rows))

    @classmethod
    def from_csv(cls, text: str) -> Budget:
        """Read the ``budget.csv`` of a published model.

        Raises:
            ValueError: A column is missing or a cell is no number.
        """
        return cls(layers_of_rows(csv.DictReader(io.StringIO(text))))

    @classmethod
    def from_authors_csv(cls, path: Path | str, column: str) -> Budget:
        """Read one model of a budget table in the format that the authors of STR publish.

        A header, a row for all layers, one for all but the classifier, and a row per layer: name,
        weights, dense multiply-adds, and the sparsity in percent that the layer has in each model.

        Args:
            path: The table.
            column: Overall sparsity in percent that names the model, e.g. ``"90.23"``.

        Raises:
            ValueError: The file is no such table, or has no such column.
        """
        return cls(_authors_column(Path(path).read_text(encoding="utf-8-sig"), column))


def _with_densities(model: nn.Module, densities: Mapping[str, float]) -> Budget:
    return Budget(
        tuple(
            LayerBudget(
                name=weight.name, weights=weight.original.numel(), density=densities[weight.name]
            )
            for weight in weight_tensors(model)
        )
    )


def _authors_column(text: str, column: str) -> tuple[LayerBudget, ...]:
    rows = list(csv.reader(io.StringIO(text)))
    if len(rows) < 3 or tuple(rows[0][:3]) != _AUTHORS_HEADER or rows[1][0] != "Overall":
        raise ValueError(
            f"this is not a budget table: it must start with {_AUTHORS_HEADER} and 'Overall'"
        )
    names = rows[1][3:]
    matching = [index for index, name in enumerate(names, 3) if name and _same(name, column)]
    if not matching:
        raise ValueError(f"the table has no model {column!r}; it has {[n for n in names if n]}")
    layers = [(match[1], row) for row in rows if (match := _AUTHORS_LAYER.fullmatch(row[0]))]
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

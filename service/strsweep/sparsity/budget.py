"""Layer budgets as values: which share of its weights every layer keeps."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from strsweep.sparsity.allocation import check_fits, erk, uniform
from strsweep.sparsity.authors_csv import read_column
from strsweep.sparsity.layer_budget import LayerBudget, layers_of_rows
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.measure import measure


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
    def of(cls, model: nn.Module, input_shape: Sequence[int] | None = None) -> Budget:
        """Return what ``model``, trained by any method, keeps in each layer."""
        return cls(
            tuple(
                LayerBudget(
                    name=layer.name,
                    weights=layer.weights,
                    density=1 - layer.sparsity,
                    dense_macs=layer.dense_macs,
                )
                for layer in measure(model, input_shape).layers
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
        return _with_densities(model, uniform(model, sparsity, dense))

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
        return _with_densities(model, erk(model, sparsity, dense))

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

    def with_macs(self, model: nn.Module, input_shape: Sequence[int]) -> Budget:
        """Return the same densities with the multiply-adds of ``model``.

        Raises:
            ValueError: The layers of ``model`` are not those of the budget.
        """
        check_fits(self.densities, model)
        measured = Budget.of(model, input_shape)
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

        Args:
            path: The table.
            column: Overall sparsity in percent that names the model, e.g. ``"90.23"``.

        Raises:
            ValueError: The file is no such table, or has no such column.
        """
        return cls(read_column(Path(path).read_text(encoding="utf-8-sig"), column))


def _with_densities(model: nn.Module, densities: Mapping[str, float]) -> Budget:
    return Budget(
        tuple(
            LayerBudget(
                name=weight.name, weights=weight.original.numel(), density=densities[weight.name]
            )
            for weight in weight_tensors(model)
        )
    )

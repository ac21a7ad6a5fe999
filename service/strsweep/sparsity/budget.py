"""Layer budgets as values: which share of its weights every layer keeps."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from strsweep.sparsity.budget_table import (
    LayerBudget,
    authors_column,
    layers_of_rows,
    numbered_column,
    rows_of,
)
from strsweep.sparsity.layers import WeightTensor, weight_tensors, without
from strsweep.sparsity.measure import measure
from strsweep.sparsity.products import Example


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
        return cls(_allocated(model, sparsity, dense, lambda _: 1.0))

    @classmethod
    def erk(cls, model: nn.Module, sparsity: float, *, dense: Sequence[str] = ()) -> Budget:
        """Give every layer a density proportional to the sum over the product of its sides.

        This is the Erdos-Renyi-kernel rule of RigL (arXiv 1911.11134, section 3): small layers keep
        more. Layers that would keep more than all are dense, and the others make up for it.

        Arguments and errors are those of ``uniform``.
        """
        rule = _allocated(
            model, sparsity, dense, lambda x: sum(x.original.shape) / x.original.numel()
        )
        return cls(rule)

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
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"this is not a layer budget: {error}") from error
        return cls(layers_of_rows(rows))

    @classmethod
    def from_csv(cls, text: str) -> Budget:
        """Read the ``budget.csv`` of a published model.

        Raises:
            ValueError: A column is missing or a cell is no number.
        """
        rows = rows_of(text)
        return cls(layers_of_rows([dict(zip(rows[0], row, strict=False)) for row in rows[1:]]))

    @classmethod
    def from_authors_csv(
        cls, path: Path | str, column: str, network: Callable[[], nn.Module] | None = None
    ) -> Budget:
        """Read one model of a table in one of the two formats that the authors of STR publish.

        One names the layers: a row for all, one for all but the classifier, and a row per layer
        with name, weights, dense multiply-adds, and the sparsity in percent that it has in each
        model. Percentages are rounded; where they add up to another number than the one for all,
        they are shifted by the least that does it, which is less than they were rounded by. The
        other table numbers the layers of one network, and has a column per method.

        Args:
            path: The table.
            column: What names the model: overall sparsity in percent, e.g. ``"90.23"``, or method,
                e.g. ``"ERK"``.
            network: Makes the network whose layers a table numbers.

        Raises:
            ValueError: The file is no such table, or has no such column.
        """
        rows = rows_of(Path(path).read_text(encoding="utf-8-sig"))
        if rows and rows[0][0] == "Layer":
            if network is None:
                raise ValueError("this table numbers its layers: say of which network")
            return cls(numbered_column(rows, column, network()))
        return cls(authors_column(rows, column))


def check_fits(densities: Mapping[str, float], model: nn.Module) -> None:
    """Raise ``ValueError`` unless ``densities`` in [0, 1] name exactly the layers of ``model``."""
    names = [weight.name for weight in weight_tensors(model)]
    missing = [name for name in names if name not in densities]
    unknown = [name for name in densities if name not in names]
    if missing or unknown:
        raise ValueError(
            "the budget and the model differ in their layers; only in the model: "
            f"{missing[:3]}, only in the budget: {unknown[:3]}"
        )
    for name, density in densities.items():
        if not 0 <= density <= 1:
            raise ValueError(f"the density of {name} is {density}, not between 0 and 1")


def _allocated(
    model: nn.Module,
    sparsity: float,
    dense: Sequence[str],
    share: Callable[[WeightTensor], float],
) -> tuple[LayerBudget, ...]:
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
    return tuple(
        LayerBudget(
            name=weight.name,
            weights=size,
            density=factor * share(weight) if weight in pruned else 1.0,
        )
        for weight, size in sizes.items()
    )

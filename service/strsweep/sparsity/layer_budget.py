"""The budget of one layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


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
        if self.weights < 1 or not 0 <= self.density <= 1:
            raise ValueError(
                f"{self.name}: {self.weights} weights at density {self.density} is no layer budget"
            )

    @property
    def sparsity(self) -> float:
        """Share of weights that are pruned."""
        return 1 - self.density

    @property
    def kept(self) -> int:
        """Number of weights that stay, rounded to the nearest."""
        return round(self.weights * self.density)


def layers_of_rows(rows: Any) -> tuple[LayerBudget, ...]:
    """Return the layers of parsed JSON or CSV; further columns are left out.

    Raises:
        ValueError: Name, weights, density or multiply-adds are missing, or no numbers.
    """
    try:
        return tuple(
            LayerBudget(
                name=row["name"],
                weights=int(row["weights"]),
                density=float(row["density"]),
                dense_macs=int(row["dense_macs"]) if row.get("dense_macs") else None,
            )
            for row in rows
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"this is not a layer budget: {error!r}") from error

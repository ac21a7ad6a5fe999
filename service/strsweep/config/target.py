"""What can be asked for: a sparsity, or a number of multiply-adds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ModelWrapValidatorHandler, model_serializer, model_validator

from strsweep.config.sections import Section
from strsweep.errors import SettingError

Quantity = Literal["sparsity", "macs"]
"""What a target is measured in: weights, or multiply-adds of one input."""


class Target(Section, frozen=True):
    """One wanted model. A plain number in a file is a sparsity."""

    sparsity: float | None = None
    """Wanted share of zeros among convolution and linear weights, in (0, 1)."""
    macs: Annotated[float, Field(gt=0)] | None = None
    """Multiply-adds to keep: below 1 a share of the dense network's, else their number."""

    @model_validator(mode="wrap")
    @classmethod
    def _from_number(cls, value: Any, handler: ModelWrapValidatorHandler[Target]) -> Target:
        if isinstance(value, str):
            remedy = "A target is a fraction: write 0.9 for 90 %, or {macs: 0.05}."
            raise SettingError("search.targets", value, remedy)
        is_number = isinstance(value, float | int) and not isinstance(value, bool)
        target = handler({"sparsity": value} if is_number else value)
        if (target.sparsity is None) == (target.macs is None):
            remedy = "Name one of the two: {sparsity: 0.95}, or {macs: 0.05}."
            raise SettingError("search.targets", value, remedy)
        if target.sparsity is not None and not 0 < target.sparsity < 1:
            remedy = "A target is a fraction in (0, 1): write 0.9 for 90 %."
            raise SettingError("search.targets", target.sparsity, remedy)
        return target

    @model_serializer
    def _to_number(self) -> float | dict[str, float]:
        return {"macs": self.macs} if self.macs is not None else self.sparsity or 0.0

    @property
    def quantity(self) -> Quantity:
        """What the target is measured in."""
        return "sparsity" if self.macs is None else "macs"

    def pruned(self, dense_macs: int) -> float:
        """Return the share to prune of what the target is measured in, in (0, 1).

        Args:
            dense_macs: Multiply-adds of the dense network.

        Raises:
            SettingError: The dense network has no more multiply-adds than are to be kept.
        """
        if self.macs is None:
            assert self.sparsity is not None
            return self.sparsity
        kept = self.macs if self.macs < 1 else self.macs / dense_macs
        if not kept < 1:
            raise SettingError(
                "search.targets",
                {"macs": self.macs},
                f"The dense network has {dense_macs:,} multiply-adds: ask for fewer.",
            )
        return 1 - kept

    @property
    def label(self) -> str:
        """Name in folders: ``sparsity-95``, ``sparsity-98-5``, ``macs-5``, ``20000-macs``."""
        if self.macs is not None and self.macs >= 1:
            return f"{self.macs:.0f}-macs"
        share = self.sparsity if self.macs is None else self.macs
        assert share is not None
        return f"{self.quantity}-" + f"{share * 100:.8g}".replace(".", "-")

    def __str__(self) -> str:
        if self.macs is None:
            assert self.sparsity is not None
            return percent(self.sparsity)
        return f"{self.macs:,.0f} MACs" if self.macs >= 1 else f"{percent(self.macs)} MACs"


def percent(fraction: float, digits: int | None = None) -> str:
    """Return a fraction in percent; without ``digits`` as short as it can be."""
    if digits is None:
        return f"{fraction * 100:.6g} %"
    return f"{fraction * 100:.{digits}f} %"

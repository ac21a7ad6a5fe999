"""What differs between the runs of one sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from strsweep.config.section import Section
from strsweep.config.sections import Count, NonNegative
from strsweep.errors import SettingError


class Correction(Section, frozen=True):
    """Another weight decay for the rest of a run."""

    after_epoch: Count
    """The last one with the weight decay before."""
    weight_decay: NonNegative

    def __str__(self) -> str:
        """Say what changes and when."""
        return f"{self.weight_decay:.3g} after epoch {self.after_epoch}"


class RunSettings(Section, frozen=True):
    """The settings that differ between the runs of one sweep."""

    threshold_init: Annotated[float, Field(lt=0, allow_inf_nan=False)] | None = None
    """First value of every threshold parameter (the paper's s_init); None without thresholds."""
    weight_decay: NonNegative
    """Weight decay of weights, batch norm and, unless set apart, thresholds."""
    sparsity: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Sparsity that the run is told; None where it is learned or given by layer."""
    macs: Annotated[float, Field(gt=0, le=1)] | None = None
    """Told instead of ``sparsity``: share of the dense network's multiply-adds to keep."""
    corrections: tuple[Correction, ...] = ()
    """Weight decays that took the place of the first one, in the order of their epochs."""

    @model_validator(mode="after")
    def _check(self) -> RunSettings:
        if self.sparsity is not None and self.macs is not None:
            remedy = f"The run is told its sparsity ({self.sparsity:g}) already: leave out one."
            raise SettingError("macs", self.macs, remedy)
        return self

    def corrected(self, correction: Correction) -> RunSettings:
        """Return the settings of a run that goes on with ``correction``."""
        return self.model_copy(update={"corrections": (*self.corrections, correction)})

    @property
    def changes(self) -> str:
        """The corrections as a person reads them; empty: there are none."""
        return ", ".join(map(str, self.corrections))

    def weight_decay_in(self, epoch: int) -> float:
        """Return the weight decay of ``epoch``, from 1."""
        valid = [each for each in self.corrections if each.after_epoch < epoch]
        return valid[-1].weight_decay if valid else self.weight_decay

    def has_epoch(self, metrics: Mapping[str, float]) -> bool:
        """Tell whether a run of these settings has an epoch that was trained so.

        Args:
            metrics: With ``epoch`` and ``weight_decay``; version 0.1 wrote no weight decay.
        """
        used = metrics.get("weight_decay", 0.0)
        return not used or used == self.weight_decay_in(int(metrics["epoch"]))

    @property
    def pruned_share(self) -> float:
        """Share to prune, of multiply-adds if ``macs`` is set, else of weights."""
        return (self.sparsity or 0.0) if self.macs is None else 1 - self.macs

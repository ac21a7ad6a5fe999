"""What differs between the runs of one sweep."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from strsweep.config.section import Section
from strsweep.config.sections import Count, NonNegative, Positive
from strsweep.config.target import Quantity
from strsweep.errors import SettingError


class Lead(Section, frozen=True):
    """Where a run leads itself, and what the sweep expected when it began."""

    quantity: Quantity
    """What ``pruned`` is a share of: weights, or multiply-adds."""
    pruned: Annotated[float, Field(gt=0, lt=1)]
    """Share that the run is to end with."""
    exposure_at_90: Positive
    """Expected exposure at which 90 % are pruned; see ``training.law``."""
    delay: float
    """Exposure that passes before the thresholds prune, from the epoch on that they act in."""


class Fork(Section, frozen=True):
    """A checkpoint of another run that trained the first epochs of this one."""

    folder: str
    """Of the checkpoint, relative to the sweep."""
    epoch: Count
    """Epochs that it stands for."""


class RunSettings(Section, frozen=True):
    """The settings that differ between the runs of one sweep."""

    threshold_init: Annotated[float, Field(lt=0, allow_inf_nan=False)] | None = None
    """First value of every threshold parameter (the paper's s_init); None without thresholds."""
    weight_decay: NonNegative
    """Weight decay of weights and batch norm; the first one, where a led run shares it."""
    threshold_decay: NonNegative | None = None
    """Weight decay of the thresholds alone, the first one of a led run; None: ``weight_decay``."""
    onset: Annotated[int, Field(ge=0)] = 0
    """Epochs before thresholds act; until then the run trains as the dense network does."""
    lead: Lead | None = None
    """Set if the run controls its decay, epoch by epoch, to end at a target."""
    fork: Fork | None = None
    """Where the epochs before ``onset`` were trained; None: by the run itself."""
    is_dense: bool = False
    """Thresholds never act: the dense network of the same recipe."""
    last_epoch: Count | None = None
    """Ends the run before all epochs of the recipe: the start that runs share."""
    sparsity: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Sparsity of a method that is given it; None where it is learned or given by layer."""
    macs: Annotated[float, Field(gt=0, le=1)] | None = None
    """Instead of ``sparsity``: share of the dense network's multiply-adds to keep."""

    @model_validator(mode="after")
    def _check(self) -> RunSettings:
        if self.sparsity is not None and self.macs is not None:
            remedy = f"The run has a sparsity ({self.sparsity:g}) already: leave out one."
            raise SettingError("macs", self.macs, remedy)
        return self

    @property
    def first_decay(self) -> float:
        """Decay of the thresholds in the first epoch that they act in."""
        return self.weight_decay if self.threshold_decay is None else self.threshold_decay

    @property
    def shared_epoch(self) -> int | None:
        """The epoch whose state other runs begin with; None if none do."""
        return self.onset if self.is_dense and self.onset else None

    @property
    def pruned_share(self) -> float:
        """Share to prune, of multiply-adds if ``macs`` is set, else of weights."""
        return (self.sparsity or 0.0) if self.macs is None else 1 - self.macs

    @property
    def numbers(self) -> dict[str, float]:
        """The settings that are numbers, those that are not set left out."""
        kept = {"threshold_init", "weight_decay", "threshold_decay", "onset", "sparsity", "macs"}
        return {
            key: value
            for key, value in self.model_dump(include=kept, exclude_none=True).items()
            if key != "onset" or value
        }

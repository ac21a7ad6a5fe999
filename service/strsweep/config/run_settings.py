"""What differs between the runs of one sweep, and what the paper's runs had (tables 10 and 11)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from strsweep.config.sections import Count, NonNegative, Positive, Section
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


_RESNET50 = (  # overall sparsity in percent, weight decay, threshold init
    ("79.55", 1.7e-5, -3200.0),
    ("81.27", 1.751757813e-5, -3200.0),
    ("87.70", 2.051757813e-5, -3200.0),
    ("90.23", 2.251757813e-5, -3200.0),
    ("90.55", 2.051757813e-5, -800.0),
    ("94.80", 3.051757813e-5, -3200.0),
    ("95.03", 3.351757813e-5, -12800.0),
    ("95.15", 3.051757813e-5, -1600.0),
    ("96.11", 3.051757813e-5, -100.0),
    ("96.53", 4.051757813e-5, -12800.0),
    ("97.78", 5.217578125e-5, -12800.0),
    ("98.05", 5.651757813e-5, -12800.0),
    ("98.22", 6.051757813e-5, -12800.0),
    ("98.79", 7.551757813e-5, -12800.0),
    ("98.98", 8.551757813e-5, -12800.0),
    ("99.10", 9.051757813e-5, -12800.0),
)
_MOBILENET_V1 = (
    ("75.28", 1.551757813e-5, -100.0),
    ("79.07", 1.551757813e-5, -25.0),
    ("85.80", 3.051757813e-5, -3200.0),
    ("89.01", 3.751757813e-5, -12800.0),
    ("89.62", 3.751757813e-5, -3200.0),
)

PRESETS: dict[str, RunSettings] = {
    f"{model}-{sparsity}": RunSettings(threshold_init=threshold_init, weight_decay=weight_decay)
    for model, rows in (("resnet50", _RESNET50), ("mobilenet_v1", _MOBILENET_V1))
    for sparsity, weight_decay, threshold_init in rows
}
"""``MODEL-SPARSITY`` -> settings, for the paper's recipe: ImageNet, 100 epochs, batch 256."""

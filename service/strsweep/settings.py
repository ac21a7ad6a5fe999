"""The values that settings are made of: numbers in ranges, targets, scores, what one run is given.

Nothing here imports torch: whoever reads a journal or schedules runs needs these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema

from strsweep.errors import SettingError

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel, frozen=True):
    """A frozen section of the file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


Quantity = Literal["sparsity", "macs", "rank"]
"""What a target is measured in: weights, multiply-adds of one input, or ranks."""


class Target(Section, frozen=True):
    """One wanted model. A plain number in a file is a sparsity."""

    sparsity: float | None = None
    """Wanted share of zeros among convolution and linear weights, in (0, 1)."""
    macs: Annotated[float, Field(gt=0)] | None = None
    """Multiply-adds to keep: below 1 a share of the dense network's, else their number."""
    rank: Annotated[float, Field(gt=0)] | None = None
    """Ranks to keep, of all layers whose rank is learned together: below 1 a share of the largest,
    else their number."""

    @model_validator(mode="wrap")
    @classmethod
    def _from_number(cls, value: Any, handler: ModelWrapValidatorHandler[Target]) -> Target:
        if isinstance(value, str):
            remedy = "A target is a fraction: write 0.9 for 90 %, or {macs: 0.05}."
            raise SettingError("search.targets", value, remedy)
        is_number = isinstance(value, float | int) and not isinstance(value, bool)
        target = handler({"sparsity": value} if is_number else value)
        if sum(x is not None for x in (target.sparsity, target.macs, target.rank)) != 1:
            remedy = "Name one: {sparsity: 0.95}, {macs: 0.05}, or {rank: 0.5}."
            raise SettingError("search.targets", value, remedy)
        if target.sparsity is not None and not 0 < target.sparsity < 1:
            remedy = "A target is a fraction in (0, 1): write 0.9 for 90 %."
            raise SettingError("search.targets", target.sparsity, remedy)
        return target

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        number = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
        return {"anyOf": [number, handler(core)]}

    @model_serializer
    def _to_number(self) -> float | dict[str, float]:
        return self.sparsity or {self.quantity: self._kept}

    @property
    def quantity(self) -> Quantity:
        """What the target is measured in."""
        if self.rank is not None:
            return "rank"
        return "sparsity" if self.macs is None else "macs"

    @property
    def _kept(self) -> float:
        """What is to be kept: below 1 a share, else a number."""
        if self.sparsity is not None:
            return 1 - self.sparsity
        kept = self.rank if self.macs is None else self.macs
        assert kept is not None
        return kept

    def pruned(self, dense_macs: int, full_rank: int = 0) -> float:
        """Return the share to prune of what the target is measured in, in (0, 1).

        Args:
            dense_macs: Multiply-adds of the dense network.
            full_rank: Sum of the ranks that are learned, at their largest; 0: none is.

        Raises:
            SettingError: The dense network has no more than is to be kept.
        """
        if self.sparsity is not None:
            return self.sparsity
        most, noun = (full_rank, "ranks") if self.macs is None else (dense_macs, "multiply-adds")
        kept = self._kept if self._kept < 1 else self._kept / max(most, 1)
        if not kept < 1 or not most:
            remedy = f"The dense network has {most:,} {noun}: ask for fewer."
            if not most:
                remedy = "No rank is learned: ranks need sparsity.mode=lowrank."
            raise SettingError("search.targets", {self.quantity: self._kept}, remedy)
        return 1 - kept

    @property
    def label(self) -> str:
        """Name in folders: ``sparsity-98-5``, ``macs-5``, ``20000-macs``, ``rank-50``."""
        if self._kept >= 1:
            return f"{self._kept:.0f}-{self.quantity}"
        share = self.sparsity or self._kept
        return f"{self.quantity}-" + f"{share * 100:.8g}".replace(".", "-")

    def __str__(self) -> str:
        if self.sparsity is not None:
            return percent(self.sparsity)
        noun = "MACs" if self.macs is not None else "rank"
        return f"{self._kept:,.0f} {noun}" if self._kept >= 1 else f"{percent(self._kept)} {noun}"


def percent(fraction: float, digits: int | None = None) -> str:
    """Return a fraction in percent; without ``digits`` as short as it can be."""
    if digits is None:
        return f"{fraction * 100:.6g} %"
    return f"{fraction * 100:.{digits}f} %"


def count(number: float, noun: str) -> str:
    """Return a number of things, e.g. ``1 image`` or ``2,048 images``."""
    return f"{number:,.10g} {noun}" if number == 1 else f"{number:,.10g} {noun}s"


class Metric(Section, frozen=True):
    """What models are judged by: the name of a number, and which way is better."""

    name: str
    """As in the metrics of an epoch."""
    higher_is_better: bool = True
    is_share: bool = True
    """It is a fraction in [0, 1], and is shown in percent."""
    few_samples: Count | None = None
    """How many it is measured on, if so few that it must be said beside it."""

    def rank(self, value: float) -> float:
        """Return a number that is the larger the better the model is."""
        return value if self.higher_is_better else -value

    def text(self, value: float, digits: int = 2) -> str:
        """Return ``value`` as a person reads it: ``98.10 %``, or four digits."""
        shown = percent(value, digits) if self.is_share else f"{value:.4g}"
        return shown if self.few_samples is None else f"{shown} of {self.few_samples}"

    def of(self, metrics: Mapping[str, float]) -> float:
        """Return the number itself."""
        return metrics[self.name]

    def difference(self, value: float, other: float) -> str:
        """Return how far ``value`` is above ``other``, with its sign; of shares in points."""
        if self.is_share:
            return f"{round(100 * (value - other), 2) + 0.0:+.2f}"
        return f"{value - other:+.3g}"

    def against(self, value: float, dense: float) -> str:
        """Return ``value`` beside that of the dense network, e.g. ``0.25 points below dense``."""
        apart = self.difference(value, dense)
        if not float(apart):
            return "as good as dense"
        unit = " points" if self.is_share else ""
        return f"{apart[1:]}{unit} {'above' if apart[0] == '+' else 'below'} dense"


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

    def acts_in(self, epoch: int) -> bool:
        """Return whether thresholds prune in ``epoch``, from 0."""
        return not self.is_dense and epoch >= self.onset

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

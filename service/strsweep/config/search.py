"""What a sweep looks for, and where it may look."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from strsweep.errors import SettingError
from strsweep.settings import Count, Finite, NonNegative, Positive, Section, Target

Range = tuple[Finite, Finite]
"""Lowest and highest value that the search may use."""
Auto = Literal["auto"]
"""The value follows from network, data and schedule."""
Knob = Literal["threshold_decay", "weight_decay"]
"""The setting that decides how much is pruned."""


class SearchConfig(Section, frozen=True):
    """The models that are wanted, and what may be spent on them."""

    targets: tuple[Target, ...] = ()
    """Wanted models: sparsities as fractions, e.g. 0.9 for 90 % zeros, or multiply-adds to keep,
    e.g. ``{macs: 0.05}`` for 5 % of the dense network's, or ranks, ``{rank: 0.5}``."""
    tolerance: Annotated[float, Field(gt=0, lt=0.5)] | Auto = "auto"
    """Distance from a target that a run may end at. What is delivered is exact in any case: landing
    shifts the thresholds. ``auto``: as far as that is harmless; a number only narrows it."""
    decay: Literal["own", "shared"] = "own"
    """Whether thresholds have a decay of their ``own``, while weights keep ``weight_decay``, or one
    decay is ``shared`` by both, as published."""
    weight_decay: NonNegative | Range | Auto = 1e-4
    """Weight decay of weights and batch norm, a number. Where it is ``shared`` it is searched:
    ``auto``, or a range."""
    threshold_decay: NonNegative | Range | Auto = "auto"
    """Decay of the thresholds, which decides how much is pruned: ``auto``, a range to search, or a
    number for one run. Not used where ``weight_decay`` is shared."""
    threshold_init: Finite | Range | Auto = "auto"
    """First value of the threshold parameters: a number, ``auto``, or a range to search."""
    led: bool = True
    """A run controls its decay, epoch by epoch, to end at its target. If false every run keeps one
    decay, as published, and the ranges are searched."""
    share_prefix: bool = True
    """Thresholds act after a third of the epochs. Until then training is the same for all targets
    and the dense network, and is done once. Needs a decay of their own, and is not done where fewer
    than 125 steps would be left: the score suffers then."""
    baseline: bool = False
    """Also train the dense network with the same recipe, to compare with."""
    max_runs: Count = 32
    """Runs that may be spent over the life of the sweep, failed ones included."""
    max_epochs: Count | None = None
    """Epochs that may be trained over the life of the sweep; no run is started that could exceed
    it."""
    max_hours: Positive | None = None
    """Hours after which a job starts no more runs and pauses those that train, to be continued by
    the next job."""
    refine: Annotated[int, Field(ge=0)] = 0
    """Further runs, once every target is hit, with other threshold inits; the best are
    kept."""
    max_concurrent: Count | None = None
    """Runs at the same time; by default as many as the cluster holds."""
    resolved: tuple[Literal["threshold_init", "threshold_decay", "weight_decay"], ...] = ()
    """Settings that were ``auto`` in the file and hold what was chosen for them; not for files."""

    @model_validator(mode="after")
    def _check(self) -> SearchConfig:
        if len(set(self.targets)) < len(self.targets):
            shown = [target.model_dump(mode="json") for target in self.targets]
            raise SettingError("search.targets", shown, "Name each target once.")
        for key in ("threshold_init", "weight_decay", "threshold_decay"):
            value = getattr(self, key)
            if isinstance(value, tuple) and not value[0] < value[1]:
                remedy = "The range is empty: write the lower end first, or one number."
                raise SettingError(f"search.{key}", value, remedy)
        first = self.threshold_init
        highest = first[1] if isinstance(first, tuple) else first
        if highest != "auto" and highest >= 0:
            remedy = (
                "It must be negative, so that training starts dense: the paper uses -25 to -12800."
            )
            raise SettingError("search.threshold_init", first, remedy)
        self._check_decays()
        return self

    def _check_decays(self) -> None:
        if self.decay == "own" and not isinstance(self.weight_decay, float | int):
            remedy = (
                "Thresholds have a decay of their own (search.threshold_decay), and weights one "
                "number: write it, or search.decay=shared to search one decay for both."
            )
            raise SettingError("search.weight_decay", self.weight_decay, remedy)
        if self.decay == "shared" and self.threshold_decay != "auto":
            remedy = "With search.decay=shared thresholds have that of the weights: leave it out."
            raise SettingError("search.threshold_decay", self.threshold_decay, remedy)
        if isinstance(self.knob_value, tuple) and self.knob_value[0] <= 0:
            remedy = "The search moves in its logarithm: both ends must be above 0."
            raise SettingError(f"search.{self.knob}", self.knob_value, remedy)

    @property
    def knob(self) -> Knob:
        """The setting that decides how much is pruned."""
        return "threshold_decay" if self.decay == "own" else "weight_decay"

    @property
    def knob_value(self) -> float | Range | Auto:
        """A number, a range, or ``auto``."""
        return self.threshold_decay if self.decay == "own" else self.weight_decay

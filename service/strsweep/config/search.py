"""What a sweep looks for, and where it may look."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from strsweep.config.section import Section
from strsweep.config.sections import Count, Finite, NonNegative, Positive
from strsweep.config.target import Target
from strsweep.errors import SettingError

Range = tuple[Finite, Finite]
"""Lowest and highest value that the search may use."""
Auto = Literal["auto"]
"""The value follows from network, data and schedule."""


class SearchConfig(Section, frozen=True):
    """What to look for and where."""

    targets: tuple[Target, ...] = ()
    """Wanted models: sparsities as fractions, e.g. 0.9 for 90 % zeros, or multiply-adds to keep,
    e.g. {macs: 0.05} for 5 % of the dense network's."""
    tolerance: Annotated[float, Field(gt=0, lt=0.5)] = 0.005
    """Distance from a target that still counts as hit; what is hit is then landed exactly."""
    threshold_init: Finite | Range | Auto | None = None
    """First value of the threshold parameters: a number, a range to search, or ``auto``; STR needs
    it."""
    weight_decay: NonNegative | Range | Auto
    """Weight decay: a number, a range to search, or ``auto`` for a range that follows from network
    and schedule."""
    max_runs: Count = 32
    """Runs that may be spent over the life of the sweep, failed ones included."""
    max_epochs: Count | None = None
    """Epochs that may be trained over the life of the sweep; no run is started that could exceed
    it."""
    max_hours: Positive | None = None
    """Hours after which a job starts no more runs and stops those that train, to be continued by
    the next job."""
    correct: bool = True
    """Let a run that would miss its target go on with another weight decay; if false, every run
    keeps one, as published, and those that miss are trained anew."""
    refine: Annotated[int, Field(ge=0)] = 0
    """Further runs, once every target is hit, with other threshold inits; the most accurate are
    kept."""
    max_concurrent: Count | None = None
    """Runs at the same time; by default as many as the cluster holds."""
    resolved: tuple[Literal["threshold_init", "weight_decay"], ...] = ()
    """Settings that were ``auto`` in the file and hold what was chosen for them; not for files."""

    @model_validator(mode="after")
    def _check(self) -> SearchConfig:
        if len(set(self.targets)) < len(self.targets):
            shown = [target.model_dump(mode="json") for target in self.targets]
            raise SettingError("search.targets", shown, "Name each target once.")
        if self.weight_decay != "auto":
            _check_range("search.weight_decay", self.weight_decay)
        if self.threshold_init is not None and self.threshold_init != "auto":
            _check_range("search.threshold_init", self.threshold_init)
            _check_threshold_init(self.threshold_init)
        if isinstance(self.weight_decay, tuple) and self.weight_decay[0] <= 0:
            raise SettingError(
                "search.weight_decay",
                list(self.weight_decay),
                "The search moves in log(weight decay): both ends must be above 0.",
            )
        return self


def _check_range(setting: str, value: float | Range) -> None:
    if isinstance(value, tuple) and not value[0] < value[1]:
        remedy = "The range is empty: write the lower end first, or one number."
        raise SettingError(setting, list(value), remedy)


def _check_threshold_init(value: float | Range) -> None:
    shown, highest = (list(value), value[1]) if isinstance(value, tuple) else (value, value)
    if highest >= 0:
        raise SettingError(
            "search.threshold_init",
            shown,
            "It must be negative, so that training starts dense: the paper uses -25 to -12800.",
        )

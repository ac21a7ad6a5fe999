"""What a sweep looks for, and where it may look."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from strsweep.config.sections import Count, Finite, NonNegative, Section
from strsweep.errors import SettingError

Range = tuple[Finite, Finite]
"""Lowest and highest value that the search may use."""


class SearchConfig(Section):
    """What to look for and where."""

    targets: tuple[Finite, ...] = ()
    """Wanted sparsities as fractions, e.g. 0.9 for 90 % zeros."""
    tolerance: Annotated[float, Field(gt=0, lt=0.5)] = 0.005
    """Distance from a target that still counts as hit."""
    threshold_init: Finite | Range | None = None
    """First value of the threshold parameters: a number, or a range to search; STR needs it."""
    weight_decay: NonNegative | Range
    """Weight decay: a number, or a range to search."""
    max_runs: Count = 32
    """Runs that may be spent over the life of the sweep, failed ones included."""
    max_concurrent: Count | None = None
    """Runs at the same time; by default as many as the cluster holds."""

    @model_validator(mode="after")
    def _check(self) -> SearchConfig:
        for target in self.targets:
            if not 0 < target < 1:
                raise SettingError(
                    "search.targets",
                    target,
                    "A target is a fraction in (0, 1): write 0.9 for 90 %.",
                )
        if len(set(self.targets)) < len(self.targets):
            raise SettingError("search.targets", list(self.targets), "Name each target once.")
        _check_range("search.weight_decay", self.weight_decay)
        if self.threshold_init is not None:
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

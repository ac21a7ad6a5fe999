"""What a sweep handed over, as values."""

from __future__ import annotations

from dataclasses import dataclass

from strsweep.registry.receipt import Receipt
from strsweep.registry.registered_model import Alias
from strsweep.search.outcome import TargetOutcome
from strsweep.settings import Metric


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """One target, and what was registered for it."""

    outcome: TargetOutcome | None
    """None for a single run, which nobody aimed."""
    receipt: Receipt | None
    version: str | None
    """Of the registered model; None if MLflow could not be reached."""
    alias: Alias | None = None
    """Where the alias of the target points; None without a version or a target."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """All targets of a sweep."""

    models: tuple[Delivered, ...]
    is_behind: bool
    """True if MLflow still lacks something that the journal has."""
    metric: Metric
    dense_score: float | None = None
    """Of the dense network of the same recipe; None if it was not trained."""
    page: str | None = None
    """Address of the MLflow page; None if there is no server, or it did not answer."""

    @property
    def is_complete(self) -> bool:
        """True if everything asked for was registered."""
        return not self.is_behind and all(model.version is not None for model in self.models)

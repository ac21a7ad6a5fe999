"""What can happen in the life of a sweep, as values."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from strsweep.config import RunSettings


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    time: float = Field(default_factory=time.time)
    """Seconds since 1970 on the clock of the writer."""


class SweepStarted(_Event):
    """Somebody asked for targets; the same sweep can be started many times."""

    event: Literal["sweep_started"] = "sweep_started"
    experiment: dict[str, Any]
    version: str
    """Of strsweep."""


class RunProposed(_Event):
    """The search chose settings for a run."""

    event: Literal["run_proposed"] = "run_proposed"
    run_id: str
    settings: RunSettings
    target: float | None
    """Sparsity aimed at; None for a run that only explores, or that nobody searched for."""
    reason: str


class EpochFinished(_Event):
    """One epoch of one run; a resumed run can write an epoch again, with the same values."""

    event: Literal["epoch_finished"] = "epoch_finished"
    run_id: str
    metrics: dict[str, float]


class ImagesUnreadable(_Event):
    """Image files could not be decoded and were left out; told once per file."""

    event: Literal["images_unreadable"] = "images_unreadable"
    run_id: str
    names: tuple[str, ...]
    """Not all of them if they are many."""


class LayerRow(BaseModel):
    """One layer of a finished run."""

    model_config = ConfigDict(frozen=True)

    name: str
    parameter: str
    """Name of the weight in the state of the dense model."""
    weights: int
    zeros: int
    sparsity: float
    dense_macs: int
    macs: int
    threshold: float | None


class RunFinished(_Event):
    """All epochs are done and the last checkpoint is on the storage."""

    event: Literal["run_finished"] = "run_finished"
    run_id: str
    metrics: dict[str, float]
    layers: tuple[LayerRow, ...]
    checkpoint: str
    """Folder of the last checkpoint, relative to the sweep."""


class RunFailed(_Event):
    """The run was given up after its retries."""

    event: Literal["run_failed"] = "run_failed"
    run_id: str
    reason: str


class ModelPublished(_Event):
    """A model was registered for a target."""

    event: Literal["model_published"] = "model_published"
    target: float | None
    run_id: str
    folder: str
    """Of weights, budget and receipt, relative to the sweep."""
    model_uri: str
    version: str


Event = Annotated[
    SweepStarted
    | RunProposed
    | EpochFinished
    | ImagesUnreadable
    | RunFinished
    | RunFailed
    | ModelPublished,
    Field(discriminator="event"),
]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""Parses one journal line."""

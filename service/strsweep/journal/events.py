"""What can happen in the life of a sweep, as values."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from strsweep.config import Problem
from strsweep.settings import RunSettings, Target


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    time: float = Field(default_factory=time.time)
    """Seconds since 1970 on the clock of the writer."""


class _RunEvent(_Event):
    run_id: str


class SweepStarted(_Event):
    """Somebody requested targets; the same sweep can be started many times."""

    event: Literal["sweep_started"] = "sweep_started"
    experiment: dict[str, Any]
    version: str
    """Of strsweep."""
    problem: Problem
    """What was measured of model and data."""


class RunProposed(_RunEvent):
    """The search chose settings for a run."""

    event: Literal["run_proposed"] = "run_proposed"
    settings: RunSettings
    target: Target | None
    """What is aimed at; None for the dense network, or a run that nobody searched for."""
    reason: str
    refines: Target | None = None
    """The target, hit already, whose score the run is to better."""


class EpochFinished(_RunEvent):
    """One epoch of one run; a resumed run can write an epoch again, with the same values."""

    event: Literal["epoch_finished"] = "epoch_finished"
    metrics: dict[str, float]
    thresholds: tuple[float | None, ...] = ()
    """Of the layers, in the order of ``RunFinished.layers``, the mean where a layer has several;
    None for a layer without one."""


class ImagesUnreadable(_RunEvent):
    """Image files could not be decoded and were left out; reported once per file."""

    event: Literal["images_unreadable"] = "images_unreadable"
    names: tuple[str, ...]
    """Not all of them if they are many."""


class LayerRow(BaseModel, frozen=True):
    """One layer of a finished run."""

    name: str
    parameter: str
    """Name of the weight in the state of the dense model."""
    weights: int
    zeros: int
    sparsity: float
    dense_macs: int
    macs: int
    threshold: float | None
    rank: int | None = None
    """Of a layer whose rank is learned; its zeros are the weights that its factors save."""
    full_rank: int | None = None
    singular_values: tuple[float, ...] = ()
    """Of such a layer as it was delivered, the largest first."""


class _RunResult(_RunEvent):
    metrics: dict[str, float]
    """``sparsity``, ``macs`` and those of the task, of what the checkpoint holds."""
    layers: tuple[LayerRow, ...]
    checkpoint: str
    """Its folder, relative to the sweep."""


class RunFinished(_RunResult):
    """All epochs are done and the last checkpoint is on the storage."""

    event: Literal["run_finished"] = "run_finished"


class RunStopped(_RunEvent):
    """The run was ended early: it can serve no target that is still open."""

    event: Literal["run_stopped"] = "run_stopped"
    epoch: int
    """Last one, from 1."""
    reason: str


class PrefixTrained(_RunEvent):
    """The state after the epochs that runs share is stored: others can fork from it."""

    event: Literal["prefix_trained"] = "prefix_trained"
    epoch: int
    checkpoint: str
    """Its folder, relative to the sweep."""


class ModelLanded(_RunResult):
    """A finished run was shifted to exactly what was requested."""

    event: Literal["model_landed"] = "model_landed"
    target: Target
    shift: float
    """Added to the argument of every threshold function."""


class RunInterrupted(_RunEvent):
    """Workers of the run ended with an error; Ray starts all of them anew, a few times."""

    event: Literal["run_interrupted"] = "run_interrupted"
    reason: str


class RunFailed(_RunEvent):
    """The run was given up after its retries."""

    event: Literal["run_failed"] = "run_failed"
    reason: str


class ModelPublished(_RunEvent):
    """A model was registered for a target."""

    event: Literal["model_published"] = "model_published"
    target: Target | None
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
    | RunInterrupted
    | RunFailed
    | RunStopped
    | PrefixTrained
    | ModelLanded
    | ModelPublished,
    Field(discriminator="event"),
]

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""Parses one journal line."""

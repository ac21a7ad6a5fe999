"""The truth about a sweep: what happened, in order, on its storage. MLflow is a view of it."""

from strsweep.journal.events import (
    EpochFinished,
    Event,
    ImagesUnreadable,
    LayerRow,
    ModelLanded,
    ModelPublished,
    PrefixTrained,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunProposed,
    RunStopped,
    SweepStarted,
)
from strsweep.journal.journal import Follower, Journal
from strsweep.journal.record import RunRecord, SweepRecord, replay, run_id_of

__all__ = [
    "EpochFinished",
    "Event",
    "Follower",
    "ImagesUnreadable",
    "Journal",
    "LayerRow",
    "ModelLanded",
    "ModelPublished",
    "PrefixTrained",
    "RunFailed",
    "RunFinished",
    "RunInterrupted",
    "RunProposed",
    "RunRecord",
    "RunStopped",
    "SweepRecord",
    "SweepStarted",
    "replay",
    "run_id_of",
]

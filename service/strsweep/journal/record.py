"""Fold the events of a journal into what is known now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from strsweep.config import Problem
from strsweep.journal.events import (
    EpochFinished,
    Event,
    ImagesUnreadable,
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
from strsweep.settings import RunSettings, Target

_Landed = dict[tuple[Target, str], ModelLanded]
_Published = dict[Target | None, ModelPublished]


@dataclass(kw_only=True)
class RunRecord:
    """One run: proposed, perhaps trained, perhaps finished or failed."""

    proposed: RunProposed
    epochs: dict[int, EpochFinished] = field(default_factory=dict[int, EpochFinished])
    """By number; of a forked run those that it trained itself. One that was trained again is here
    once."""
    num_epochs_trained: int = 0
    """Repeated ones included."""
    prefix: PrefixTrained | None = None
    """The state that other runs can fork from; None: there is none yet."""
    finished: RunFinished | None = None
    failed: RunFailed | None = None
    stopped: RunStopped | None = None
    interruptions: list[RunInterrupted] = field(default_factory=list[RunInterrupted])
    unreadable: list[str] = field(default_factory=list[str])
    """Image files that could not be decoded and were left out."""

    @property
    def run_id(self) -> str:
        """``run-001`` and so on, in the order of proposal."""
        return self.proposed.run_id

    @property
    def settings(self) -> RunSettings:
        """As the search chose them."""
        return self.proposed.settings

    @property
    def target(self) -> Target | None:
        """What it aims at."""
        return self.proposed.target

    @property
    def ends(self) -> list[RunFinished | RunFailed | RunStopped]:
        """What ended it; nothing while it trains, or was interrupted."""
        ends = (self.finished, self.failed, self.stopped)
        return [end for end in ends if end is not None]

    @property
    def times(self) -> list[float]:
        """When it was proposed, and wrote its epochs and its end; seconds since 1970."""
        return [event.time for event in (self.proposed, *self.epochs.values(), *self.ends)]

    @property
    def is_open(self) -> bool:
        """True while the run trains, or was interrupted."""
        return not self.ends


@dataclass(kw_only=True)
class SweepRecord:
    """All that is known about a sweep."""

    started: list[SweepStarted] = field(default_factory=list[SweepStarted])
    runs: dict[str, RunRecord] = field(default_factory=dict[str, RunRecord])
    landed: _Landed = field(default_factory=_Landed)
    """By target and run."""
    last_number: int = 0
    """The largest in the id of a run, also of one whose proposal was not seen yet."""
    published: _Published = field(default_factory=_Published)
    """The newest publication of each target."""
    num_events: int = field(default=0, compare=False)
    """That were replayed: how often something was written, not what is known."""

    @property
    def problem(self) -> Problem | None:
        """What was measured of model and data when the sweep was last started."""
        return self.started[-1].problem if self.started else None

    @property
    def epochs_trained(self) -> int:
        """Epochs of all runs, repeated ones included."""
        return sum(run.num_epochs_trained for run in self.runs.values())

    @property
    def finished_runs(self) -> list[RunRecord]:
        """Runs with a final checkpoint, in the order of proposal."""
        return [run for run in self.runs.values() if run.finished is not None]

    def result(self, run_id: str, target: Target | None) -> ModelLanded | RunFinished | None:
        """Return a run as it landed on ``target``, else as training ended; None before its end."""
        landed = None if target is None else self.landed.get((target, run_id))
        return landed or self.runs[run_id].finished

    @property
    def next_run_id(self) -> str:
        """The first unused run id."""
        return run_id_of(self.last_number + 1)


def run_id_of(number: int) -> str:
    """Return the id of the run with ``number``, from 1: ``run-001``."""
    return f"run-{number:03d}"


def replay(events: Iterable[Event]) -> SweepRecord:
    """Return what ``events`` tell; an epoch that was written again counts as trained again.

    Events about a run that was not proposed are left out; ``Journal.read`` returns none of a run
    that has a file.
    """
    record, events = SweepRecord(), list(events)
    add(events, record)
    record.num_events = len(events)
    return record


def add(events: Iterable[Event], record: SweepRecord) -> list[Event]:
    """Add ``events`` to ``record``; returns those of runs that it does not know."""
    later: list[Event] = []
    for event in events:
        if (run_id := getattr(event, "run_id", None)) is not None:
            number = int(run_id.rpartition("-")[2])
            record.last_number = max(record.last_number, number)
        # Clocks of nodes differ: a run's first epoch can carry an earlier time than its proposal.
        if isinstance(event, RunProposed):
            record.runs.setdefault(event.run_id, RunRecord(proposed=event))
        else:
            later.append(event)
    return [event for event in later if not _is_added(event, record)]


def _is_added(event: Event, record: SweepRecord) -> bool:
    match event:
        case SweepStarted():
            if event not in record.started:
                record.started.append(event)
        case ModelLanded():
            record.landed[event.target, event.run_id] = event
        case ModelPublished():
            record.published[event.target] = event
        case _ if (run := record.runs.get(event.run_id)) is not None:
            _add_to_run(event, run)
        case _:
            return False
    return True


def _add_to_run(event: Event, run: RunRecord) -> None:
    match event:
        case EpochFinished():
            run.epochs[int(event.metrics["epoch"])] = event
            run.num_epochs_trained += 1
        case ImagesUnreadable():
            run.unreadable += [name for name in event.names if name not in run.unreadable]
        case RunFinished():
            run.finished = event
        case RunStopped():
            run.stopped = event
        case PrefixTrained():
            run.prefix = event
        case RunFailed():
            run.failed = event
        case RunInterrupted() if event not in run.interruptions:
            run.interruptions.append(event)
        case _:
            pass

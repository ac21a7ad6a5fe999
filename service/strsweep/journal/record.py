"""Fold the events of a journal into what is known now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from strsweep.journal.events import (
    EpochFinished,
    Event,
    ImagesUnreadable,
    ModelPublished,
    RunFailed,
    RunFinished,
    RunProposed,
    SweepStarted,
)


@dataclass(kw_only=True)
class RunRecord:
    """One run: proposed, perhaps trained, perhaps finished or failed."""

    proposed: RunProposed
    epochs: dict[int, EpochFinished] = field(default_factory=dict[int, EpochFinished])
    """By number; an epoch that was trained twice is here once."""
    num_epochs_trained: int = 0
    """Epochs written, repeated ones included: what the run cost."""
    finished: RunFinished | None = None
    failed: RunFailed | None = None
    unreadable: list[str] = field(default_factory=list[str])
    """Image files that could not be decoded and were left out."""

    @property
    def run_id(self) -> str:
        """``run-001`` and so on, in the order of proposal."""
        return self.proposed.run_id

    @property
    def is_open(self) -> bool:
        """True while the run can still be continued."""
        return self.finished is None and self.failed is None


@dataclass(kw_only=True)
class SweepRecord:
    """All that is known about a sweep."""

    started: list[SweepStarted] = field(default_factory=list[SweepStarted])
    runs: dict[str, RunRecord] = field(default_factory=dict[str, RunRecord])
    published: dict[float | None, ModelPublished] = field(
        default_factory=dict[float | None, ModelPublished]
    )
    """The newest publication of each target."""

    @property
    def finished_runs(self) -> list[RunRecord]:
        """Runs with a final checkpoint, in the order of proposal."""
        return [run for run in self.runs.values() if run.finished is not None]

    @property
    def next_run_id(self) -> str:
        """The first unused run id."""
        return f"run-{len(self.runs) + 1:03d}"


def replay(events: Iterable[Event]) -> SweepRecord:
    """Return what ``events`` tell. Replaying them twice, or an epoch again, changes nothing.

    Events about a run that was never proposed are left out: its proposal line was torn by a crash
    before the run started.
    """
    record = SweepRecord()
    later: list[Event] = []
    for event in events:
        # Clocks of nodes differ: a run's first epoch can carry an earlier time than its proposal.
        if isinstance(event, RunProposed):
            record.runs.setdefault(event.run_id, RunRecord(proposed=event))
        else:
            later.append(event)
    for event in later:
        _apply(record, event)
    return record


def _apply(record: SweepRecord, event: Event) -> None:
    match event:
        case SweepStarted():
            if event not in record.started:
                record.started.append(event)
        case ModelPublished():
            record.published[event.target] = event
        case EpochFinished() if event.run_id in record.runs:
            run = record.runs[event.run_id]
            run.epochs[int(event.metrics["epoch"])] = event
            run.num_epochs_trained += 1
        case ImagesUnreadable() if event.run_id in record.runs:
            known = record.runs[event.run_id].unreadable
            known += [name for name in event.names if name not in known]
        case RunFinished() if event.run_id in record.runs:
            record.runs[event.run_id].finished = event
        case RunFailed() if event.run_id in record.runs:
            record.runs[event.run_id].failed = event
        case _:
            pass

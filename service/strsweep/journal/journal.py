"""Append events, read them back, keep up with them; every writer has a file of its own."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from pydantic import ValidationError

from strsweep.errors import JournalError
from strsweep.journal.events import EVENT, Event
from strsweep.journal.record import SweepRecord, add
from strsweep.storage import Store

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _File:
    size: int = 0
    """When it was last read."""
    end: int = 0
    """Bytes of the lines that have ended: those do not change any more."""
    events: list[Event] = field(default_factory=list[Event])
    """Of these lines."""
    last: list[Event] = field(default_factory=list[Event])
    """Of a line that has not ended."""


class Journal:
    """The journal of one sweep: ``journal/<writer>.jsonl`` files on its storage.

    The job that drives the sweep writes ``sweep``; the first worker of a run the run's id, and what
    watches over its workers that with ``-interruptions``.

    Args:
        storage: Of the sweep.
        writer: Name of the file to append to.
    """

    def __init__(self, storage: Store, writer: str = "sweep") -> None:
        self._storage = storage
        self._name = f"journal/{writer}.jsonl"
        self._known: dict[str, _File] = {}
        """By name: files only grow, and are read often."""

    def append(self, event: Event) -> None:
        """Write ``event``; it is on disk when this returns."""
        self._storage.append_line(self._name, event.model_dump_json())

    def read(self) -> list[Event]:
        """Return the events of all writers in the order of their clocks.

        Raises:
            JournalError: A line in the middle of a file is damaged.
        """
        events = [event for lines in self.files().values() for event in lines]
        return sorted(events, key=lambda event: event.time)

    def files(self) -> dict[str, list[Event]]:
        """Return the events of every file as they were written; files only grow.

        Raises:
            JournalError: A line in the middle of a file is damaged.
        """
        sizes = self._storage.sizes("journal")
        return {name: self._lines(name, size) for name, size in sizes.items()}

    def _lines(self, name: str, size: int) -> list[Event]:
        file = self._known.setdefault(name, _File())
        if file.size != size:
            content = self._storage.read(name)
            end = content.rfind(b"\n") + 1
            file.events = file.events + _parsed(name, content, file.end, end)
            file.last = _parsed(name, content, end)
            file.end, file.size = end, len(content)
        return file.events + file.last if file.last else file.events


class Follower:
    """The record of a sweep under way; what was read is not folded again."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._record = SweepRecord()
        self._num_added: dict[str, int] = {}
        """Events of every file that are in the record."""
        self._early: list[Event] = []
        """Of runs whose proposal was not seen yet."""

    def record(self) -> SweepRecord:
        """Return all that is known now: one object, which later calls change.

        Raises:
            JournalError: A line in the middle of a file is damaged.
        """
        new = self._early
        for name, events in self._journal.files().items():
            new += events[self._num_added.get(name, 0) :]
            self._num_added[name] = len(events)
        self._early = add(sorted(new, key=lambda event: event.time), self._record)
        return self._record


def _parsed(name: str, content: bytes, start: int, end: int | None = None) -> list[Event]:
    events: list[Event] = []
    first = content.count(b"\n", 0, start) + 1
    for number, line in enumerate(content[start:end].split(b"\n"), first):
        if not line:
            continue
        try:
            events.append(EVENT.validate_json(line))
        except ValidationError as error:
            # A line that a killed writer left unfinished is no JSON; somebody changed any other.
            if any(details["type"] != "json_invalid" for details in error.errors()):
                raise JournalError(f"{name}, line {number} is damaged: {error}") from error
            _log.warning("%s, line %d was cut off by a crash and is left out", name, number)
    return events

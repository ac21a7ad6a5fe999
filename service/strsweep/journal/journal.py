"""Append events, read them back, keep up with them; every writer has a file of its own."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from strsweep.errors import JournalError
from strsweep.journal.events import EVENT, Event, RunProposed
from strsweep.journal.record import SweepRecord, add
from strsweep.storage import Store

_OURS = re.compile(r"journal/[\w-]+(\.[\w-]+)?\.jsonl")
"""Systems leave files of their own in any folder."""
_OF_RUN = re.compile(r"journal/(run-\d+)[.-]")
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
    """

    def __init__(self, storage: Store, writer: str = "sweep") -> None:
        self._storage = storage
        self._name = f"journal/{writer}.jsonl"
        self._known: dict[str, _File] = {}
        """By name: files only grow, and are read often."""

    def append(self, event: Event) -> None:
        """Write ``event``; it is on disk when this returns."""
        self._storage.append_line(self._name, _line(event))

    def read(self) -> list[Event]:
        """Return the events file by file, each in the order they were written.

        Clocks of nodes differ and are set back, so nothing may depend on the times of events; those
        of different files mean the same in any order.

        Raises:
            JournalError: A file is damaged, or that of the job is gone or lost lines.
        """
        if _unproposed(files := self.files()):
            files = self.files()  # a run may have begun after the file of the job was looked at
        if names := _unproposed(files):
            told = f"{self._storage.uri('journal/sweep.jsonl')} (in a bucket, an object of it) lost"
            told += f" lines: it proposes no run of {', '.join(names)}. Restore it, or remove these"
            raise JournalError(f"{told} files: what they told is forgotten then.")
        return [event for lines in files.values() for event in lines]

    def files(self) -> dict[str, list[Event]]:
        """Return the events of every file as they were written; files only grow.

        Runs may be told of whose proposal is written already and was not seen yet.

        Raises:
            JournalError: A file is damaged, or that of the job is gone.
        """
        found = self._storage.sizes("journal").items()
        sizes = {name: size for name, size in found if _OURS.fullmatch(name)}
        if sizes and not any(name.startswith("journal/sweep.") for name in sizes):
            told = (
                f"{self._storage.uri('journal/sweep.jsonl')} is gone, and the files of runs are not"
            )
            raise JournalError(f"{told}: restore it, or remove the whole sweep")
        return {name: self._lines(name, size) for name, size in sizes.items()}

    def _lines(self, name: str, size: int) -> list[Event]:
        file = self._known.setdefault(name, _File())
        if file.size != size:
            content = self._storage.read(name)
            if len(content) < file.end:  # ``size`` alone may be older than what was read last
                raise JournalError(f"{self._storage.uri(name)} lost what was in it: restore it")
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
            JournalError: A file is damaged, or that of the job is gone.
        """
        new = self._early
        for name, events in self._journal.files().items():
            new += events[self._num_added.get(name, 0) :]
            self._num_added[name] = len(events)
        self._early = add(new, self._record)
        return self._record


def _unproposed(files: dict[str, list[Event]]) -> list[str]:
    """Return the files of runs that nobody proposed: a job does before it starts one."""
    events = [event for lines in files.values() for event in lines]
    proposed = {event.run_id for event in events if isinstance(event, RunProposed)}
    return [name for name in files if (run := _OF_RUN.match(name)) and run[1] not in proposed]


def _line(event: Event) -> str:
    try:
        return event.model_dump_json()
    except PydanticSerializationError:  # file names need not be UTF-8; JSON must be
        text = json.dumps(event.model_dump(mode="json"), ensure_ascii=False)
        return re.sub(r"[\ud800-\udfff]", lambda found: rf"\\u{ord(found[0]):x}", text)


def _parsed(name: str, content: bytes, start: int, end: int | None = None) -> list[Event]:
    events: list[Event] = []
    first = content.count(b"\n", 0, start) + 1
    for number, line in enumerate(content[start:end].split(b"\n"), first):
        if not line:
            continue
        try:
            events.append(EVENT.validate_json(line))
        except ValidationError as error:
            if not _is_cut_off(line, error):
                told = (
                    f"{name}, line {number} is damaged: {line[:80]!r}. Restore the file, or remove "
                )
                told += f"the line: what it told is forgotten then. {error}"
                raise JournalError(told) from error
            _log.warning("%s, line %d was cut off by a crash and is left out", name, number)
    return events


def _is_cut_off(line: bytes, error: ValidationError) -> bool:
    """Return whether a killed writer left the line unfinished; anything else is damage."""
    begins = line.startswith(b'{"time":'[: len(line)])  # as every line does
    return begins and all("EOF while parsing" in details["msg"] for details in error.errors())

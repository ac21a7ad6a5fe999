"""Keep up with a journal that grows: what was read is not folded again."""

from __future__ import annotations

from strsweep.journal.events import Event
from strsweep.journal.journal import Journal
from strsweep.journal.record import SweepRecord, add


class Follower:
    """The record of a sweep under way, brought up to date whenever it is asked for.

    Args:
        journal: Of the sweep.
    """

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

"""The desk of a sweep: work is laid on it, lanes take it, and what comes of it is told here.

A *lane* is a group of worker processes that stays, and does one piece of work after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from strsweep.journal import ModelLanded, RunRecord
from strsweep.settings import RunSettings, Target

_MOST_LOSSES = 4
"""Times that the processes of a lane may die or raise with the same piece of work."""
_PATIENCE_S = 5.0
"""A lane that asks for work has an answer by then: its other workers wait for it, and must not take
it for dead."""
_IDLE_S = 60.0
"""A lane without work gives its resources back after this."""


@dataclass(frozen=True)
class Train:
    """A run that is to be trained to its end."""

    run_id: str
    settings: RunSettings

    @property
    def name(self) -> str:
        """What the desk knows it by."""
        return self.run_id


@dataclass(frozen=True)
class Land:
    """A finished run that is to be shifted to exactly its target."""

    run: RunRecord
    target: Target

    @property
    def name(self) -> str:
        """What the desk knows it by."""
        return f"{self.run.run_id} on {self.target.label}"


Work = Train | Land


@dataclass(frozen=True)
class Told:
    """What the desk was told of a piece of work last."""

    number: int
    """Counts what was told of it, from 1."""
    metrics: dict[str, float] | None = None
    """Of an epoch of a run."""
    landed: ModelLanded | None = None
    failure: str | None = None
    """Why it was given up."""
    refused: str | None = None
    """Why the storage takes nothing: the work stays open, and no other can be done."""
    is_over: bool = False


@dataclass(frozen=True)
class Ticket:
    """What a lane has taken; what it reports for an older ticket is not listened to."""

    work: Work
    number: int


@dataclass
class _Entry:
    work: Work
    lane: str | None = None
    ticket: int = 0
    losses: int = 0
    read: int = 0
    """What was told until then was read by whoever follows the work."""
    last: Told = field(default_factory=lambda: Told(0))

    @property
    def is_open(self) -> bool:
        return not self.last.is_over


class Desk:
    """Where the work of a sweep lies; an actor of the Ray job ``owner`` that everyone can ask.

    Should it die and be started anew it knows nothing; then whoever follows a piece of work lays it
    down again, and lanes go on from the newest checkpoint.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._entries: dict[str, _Entry] = {}
        self._lanes: set[str] = set()
        """Those that ask for work, or will."""
        self._tickets = 0
        self._is_closed = False
        self._changed = asyncio.Condition()

    async def owner(self) -> str:
        """Return the job that holds the sweep."""
        return self._owner

    async def lay(self, work: Work, slots: int) -> int:
        """Lay down work unless it lies here; returns how many lanes are to be opened for it.

        The cluster holds ``slots`` lanes.
        """
        await self._entry(work)
        busy = sum(entry.is_open for entry in self._entries.values())
        return max(min(busy, slots) - len(self._lanes), 0)

    async def open(self, lane: str) -> None:
        """Take note that ``lane`` will ask for work."""
        self._lanes.add(lane)

    async def follow(self, work: Work, read: int) -> Told:
        """Return what is told of ``work`` after number ``read``; asking lets it go on."""
        entry = await self._entry(work)
        if read > entry.last.number:  # a desk that was started anew goes on counting from there
            entry.last = replace(entry.last, number=read)
        entry.read = max(entry.read, read)
        await self._notify()
        await self._until(lambda: entry.last.number > read)
        return entry.last

    async def leave(self, work: Work) -> None:
        """End work where it is."""
        await self._tell(await self._entry(work), is_over=True)

    async def close(self) -> None:
        """End all work, and every lane."""
        self._is_closed = True
        await self._notify()

    async def take(self, lane: str, idle_s: float) -> Ticket | bool:
        """Return the work of ``lane``; True if it shall ask again, False if it shall end.

        A lane whose processes were started anew gets what they were at.

        It had no work for ``idle_s`` seconds.
        """
        self._lanes.add(lane)
        await self._until(lambda: self._is_closed or self._next(lane) is not None, _PATIENCE_S)
        entry = None if self._is_closed else self._next(lane)
        if entry is not None:
            self._tickets += 1
            entry.lane, entry.ticket = lane, self._tickets
            return Ticket(entry.work, entry.ticket)
        if self._is_closed or idle_s > _IDLE_S:
            self._lanes.remove(lane)
            return False
        return True

    async def report(self, ticket: Ticket, metrics: dict[str, float]) -> bool:
        """Take an epoch; returns whether the run goes on, once whoever follows it has decided."""
        entry = self._held(ticket)
        if entry is None:
            return False
        await self._tell(entry, metrics=metrics)
        number = entry.last.number
        await self._until(
            lambda: self._is_closed or self._held(ticket) is not entry or entry.read >= number
        )
        return not self._is_closed and self._held(ticket) is entry

    async def end(self, ticket: Ticket, **outcome: Any) -> None:
        """Take the end of work: ``landed``, ``failure`` or ``refused`` of what is told."""
        if (entry := self._held(ticket)) is not None:
            await self._tell(entry, is_over=True, **outcome)

    async def lost(self, lane: str, reason: str) -> Work | None:
        """Take note that the processes of ``lane`` died or raised; returns what they were at.

        The next lane that asks takes the work, unless they died of it too often. Where they had
        none, the loss counts for what they would have taken: else they would start for ever.
        """
        entry = self._next(lane)
        if entry is None:
            return None
        entry.losses += 1
        entry.lane, entry.ticket = None, 0
        if entry.losses >= _MOST_LOSSES:
            reason = f"its processes ended {entry.losses} times, at last with: {reason}"
            await self._tell(entry, is_over=True, failure=reason)
        await self._notify()
        return entry.work

    async def shut(self, lane: str) -> bool:
        """Take note that ``lane`` cannot be held open; returns whether it is still needed."""
        if not self._is_closed and self._next(lane) is not None:
            return True
        self._lanes.discard(lane)
        return False

    async def _entry(self, work: Work) -> _Entry:
        if work.name not in self._entries:
            self._entries[work.name] = _Entry(work)
            await self._notify()
        return self._entries[work.name]

    def _next(self, lane: str) -> _Entry | None:
        """Return the work that ``lane`` has, or else the first that no lane has.

        Landings come before runs: they are short, and a model can be delivered after each.
        """
        left = [e for e in self._entries.values() if e.is_open and e.lane in (lane, None)]
        return min(left, key=lambda e: (e.lane is None, isinstance(e.work, Train)), default=None)

    def _held(self, ticket: Ticket) -> _Entry | None:
        entry = self._entries.get(ticket.work.name)
        is_held = entry is not None and entry.ticket == ticket.number and entry.is_open
        return entry if is_held else None

    async def _tell(self, entry: _Entry, **told: Any) -> None:
        entry.last = Told(entry.last.number + 1, **told)
        await self._notify()

    async def _until(self, condition: Callable[[], bool], seconds: float | None = None) -> None:
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(condition), seconds)
            except asyncio.TimeoutError:  # before Python 3.11 not the builtin one
                return

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

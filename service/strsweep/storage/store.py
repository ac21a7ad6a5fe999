"""What a place for files must be able to do."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """Named bytes under one root. Names are relative, with forward slashes.

    Every method may raise ``StorageError``: the place refuses, is full, or stayed away for too
    long. Writing is atomic: a reader sees the old content or the new one.
    """

    @property
    def location(self) -> str:
        """The root as people write it: an absolute folder or ``s3://BUCKET/PREFIX``."""
        ...

    def uri(self, name: str) -> str:
        """Return where ``name`` is, in the form of ``location``; it need not exist."""
        ...

    def read(self, name: str) -> bytes:
        """Return the content of ``name``; raises ``FileNotFoundError``."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write ``name`` whole."""
        ...

    def append_line(self, name: str, line: str) -> None:
        """Add ``line`` to the log ``name``; it is stored when this returns.

        A log may be kept in several files: all of its writers' files lie in its folder and end
        like it.
        """
        ...

    def sizes(self, folder: str) -> dict[str, int]:
        """Return name -> bytes of everything below ``folder``, sorted; empty if there is none."""
        ...

    def delete(self, folder: str) -> None:
        """Remove everything below ``folder``; what is gone already is no error."""
        ...

    def local(self, folder: str) -> AbstractContextManager[Path]:
        """Hold the files below ``folder`` on this machine for the ``with`` block, for reading."""
        ...

    def remove_rests(self, older_than: timedelta) -> int:
        """Remove what writes that were interrupted before then have left; returns how many."""
        ...

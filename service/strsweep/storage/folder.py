"""A store in a folder that every node sees under the same path."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

from strsweep.errors import StorageError

_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space, or name another storage.path.",
    errno.EDQUOT: "The quota is used up: free some space, or name another storage.path.",
    errno.EACCES: "It may not be written to: mend its permissions, or name another storage.path.",
    errno.EROFS: "It can only be read: mend how it is mounted, or name another storage.path.",
}
_PARTIAL = ".partial"
"""Ends the name of a file that is being written."""


class FolderStore:
    """Files below ``root``, an absolute folder that is made when something is written.

    The methods are those of ``Store``; ``StorageError`` says that the disk is full or refuses.
    """

    def __init__(self, root: Path) -> None:
        self._root, self.location = root, str(root)

    def uri(self, name: str) -> str:
        """Return the path of ``name``."""
        return str(self._root / name)

    def read(self, name: str) -> bytes:
        """Return the content of ``name``; raises ``FileNotFoundError``."""
        return (self._root / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write ``name`` whole: a reader sees the old content or the new one."""
        path = self._root / name
        partial = path.with_name(f"{path.name}{_PARTIAL}")
        with _written(path):
            try:
                with partial.open("wb") as file:
                    _flush(file, content)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)  # half a file would keep a full disk full

    def append_line(self, name: str, line: str) -> None:
        """Append ``line`` and flush it to disk. A torn last line is closed first."""
        path = self._root / name
        with _written(path), path.open("ab+") as file:
            is_whole = file.seek(0, os.SEEK_END) == 0
            if not is_whole:
                file.seek(-1, os.SEEK_END)
                is_whole = file.read(1) == b"\n"
            _flush(file, (b"" if is_whole else b"\n") + line.encode() + b"\n")

    def sizes(self, folder: str) -> dict[str, int]:
        """Return name -> bytes of all files below ``folder``."""
        start = len(f"{self.location}/")
        return dict(sorted((path[start:], size) for path, size in _files(f"{self._root / folder}")))

    def delete(self, folder: str) -> None:
        """Remove ``folder`` with all that is in it."""
        shutil.rmtree(self._root / folder, ignore_errors=True)

    def remove_rests(self, older_than: timedelta) -> int:
        """Remove half-written files that were begun before then; returns how many."""
        before = time.time() - older_than.total_seconds()
        partial = self._root.rglob(f"*{_PARTIAL}")
        rests = [path for path in partial if path.stat().st_mtime <= before]
        for path in rests:
            path.unlink(missing_ok=True)
        return len(rests)

    @contextmanager
    def local(self, folder: str) -> Generator[Path]:
        """Yield the folder itself."""
        yield self._root / folder


@contextmanager
def _written(path: Path) -> Generator[None]:
    """Make the folder of ``path``, and say what to do if the disk refuses."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        raise StorageError(f"{path} cannot be written ({error.strerror}). {remedy}") from error


def _flush(file: BinaryIO, content: bytes) -> None:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


def _files(folder: str) -> Iterator[tuple[str, int]]:
    # Without Path: a sweep looks at its journal at every step, which has a file for every run.
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(entry.path)
                elif entry.is_file() and not entry.name.endswith(_PARTIAL):
                    with suppress(FileNotFoundError):  # another process has removed it just now
                        yield entry.path, entry.stat().st_size
    except (FileNotFoundError, NotADirectoryError):  # never made, or removed just now
        return

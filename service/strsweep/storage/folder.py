"""A store in a folder that every node sees under the same path."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

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
    """Files below ``root``, which is made when something is written.

    Args:
        root: An absolute folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def location(self) -> str:
        """The folder."""
        return str(self._root)

    def uri(self, name: str) -> str:
        """Return the path of ``name``."""
        return str(self._path(name))

    def read(self, name: str) -> bytes:
        """Return the content of ``name``.

        Raises:
            FileNotFoundError: It does not exist.
        """
        return self._path(name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Write ``name`` whole: a reader sees the old content or the new one.

        Raises:
            StorageError: The disk is full or refuses.
        """
        path = self._path(name)
        partial = path.with_name(f"{path.name}{_PARTIAL}")
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with partial.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)  # half a file would keep a full disk full

    def append_line(self, name: str, line: str) -> None:
        """Append ``line`` and flush it to disk. A torn last line is closed first.

        Raises:
            StorageError: The disk is full or refuses.
        """
        path = self._path(name)
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab+") as file:
                file.write((b"" if _ends_cleanly(path) else b"\n") + line.encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())

    def sizes(self, folder: str) -> dict[str, int]:
        """Return name -> bytes of all files below ``folder``."""
        start = len(f"{self._root}/")
        files = (
            file for file in _files(str(self._root / folder)) if not file.name.endswith(_PARTIAL)
        )
        found = {file.path[start:]: _size(file) for file in files}
        return {name: size for name, size in sorted(found.items()) if size is not None}

    def delete(self, folder: str) -> None:
        """Remove ``folder`` with all that is in it."""
        shutil.rmtree(self._root / folder, ignore_errors=True)

    def remove_rests(self, older_than: timedelta) -> int:
        """Remove half-written files that were begun before then; returns how many."""
        before = time.time() - older_than.total_seconds()
        rests = [
            path for path in self._root.rglob(f"*{_PARTIAL}") if path.stat().st_mtime <= before
        ]
        for path in rests:
            path.unlink(missing_ok=True)
        return len(rests)

    @contextmanager
    def local(self, folder: str) -> Generator[Path]:
        """Yield the folder itself."""
        yield self._root / folder

    def _path(self, name: str) -> Path:
        return self._root / name


@contextmanager
def _told(path: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        raise StorageError(f"{path} cannot be written ({error.strerror}). {remedy}") from error


def _files(folder: str) -> Iterator[os.DirEntry[str]]:
    # Without Path: a sweep looks at its journal at every step, which has a file for every run.
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield from _files(entry.path)
                elif entry.is_file():
                    yield entry
    except (FileNotFoundError, NotADirectoryError):  # never made, or removed just now
        return


def _size(file: os.DirEntry[str]) -> int | None:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # another process has removed it just now
        return None


def _ends_cleanly(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"

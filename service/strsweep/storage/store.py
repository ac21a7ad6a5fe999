"""Where the files of a sweep are, what such a place must be able to do, and one in a folder."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Protocol

from strsweep.config import Experiment, StorageConfig
from strsweep.config.addresses import results_folder
from strsweep.errors import SettingError, StorageError

_REMEDIES = {
    errno.ENOSPC: "The disk is full: free some space",
    errno.EDQUOT: "The quota is used up: free some space",
    errno.EACCES: "It may not be written to: mend its permissions",
    errno.EROFS: "It can only be read: mend how it is mounted",
}
_PARTIAL = ".partial"
"""Ends the name of a file that is being written."""
_PROBE_PATIENCE_MIN = 0.25
"""Minutes that a service may be unavailable when a job starts: somebody waits for an answer."""


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

    def remove_partial_writes(self, older_than: timedelta) -> int:
        """Remove half-written files that were begun before then; returns how many."""
        before = time.time() - older_than.total_seconds()
        partial = self._root.rglob(f"*{_PARTIAL}")
        old = [path for path in partial if path.lstat().st_mtime <= before]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

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
        told = f"{path} cannot be written ({error.strerror}). {remedy}"
        raise StorageError(f"{told}, or name another storage.path.") from error


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
                elif entry.name.endswith(_PARTIAL):
                    continue
                # Path knows links that lead nowhere, or in a circle, for what they are.
                elif entry.is_file(follow_symlinks=False) or Path(entry).is_file():
                    with suppress(FileNotFoundError):  # another process has removed it just now
                        yield entry.path, entry.stat().st_size
    except (FileNotFoundError, NotADirectoryError):  # never made, or removed just now
        return


class Store(Protocol):
    """Named bytes under one root. Names are relative, with forward slashes.

    Every method may raise ``StorageError``: the place refuses, is full, or was unavailable for
    too long. Writing is atomic: a reader sees the old content or the new one.
    """

    location: str
    """The root as people write it: an absolute folder or ``s3://BUCKET/PREFIX``."""

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

    def remove_partial_writes(self, older_than: timedelta) -> int:
        """Remove what writes that were interrupted before then have left; returns how many."""
        ...


def is_object_store(location: str) -> bool:
    """Return whether it is ``s3://BUCKET/PREFIX``, and no folder."""
    return location.startswith("s3://")


def storage_of(experiment: Experiment) -> Store:
    """Return the store of a sweep alone, ``PATH/sweeps/SWEEP_ID``."""
    config = experiment.storage
    return store_at(f"{config.path.rstrip('/')}/sweeps/{experiment.sweep_id}", config)


def store_of_sweep(reference: str) -> Store:
    """Return the store of a sweep: its id under the results folder, or its folder or S3 prefix."""
    is_place = is_object_store(reference) or Path(reference).is_dir()
    return store_at(reference if is_place else str(results_folder() / "sweeps" / reference))


def store_at(location: str, config: StorageConfig | None = None) -> Store:
    """Return the store of a folder or of ``s3://BUCKET/PREFIX``.

    Args:
        location: Its last part is the sweep's id, if it is that of a sweep.
        config: Endpoint and region of an object store; by default the environment's.
    """
    if not is_object_store(location):
        return FolderStore(Path(location))
    from strsweep.storage.object_store import ObjectStore  # boto3 takes a second to import

    return ObjectStore(location, config or StorageConfig())


def check_storage(config: StorageConfig) -> None:
    """Raise ``SettingError`` unless the storage keeps what is written to it."""
    if not is_object_store(config.path):
        check_writable(Path(config.path))
        return
    probe = f".write-test-{os.getpid()}"
    try:
        store = store_at(config.path, config.model_copy(update={"patience": _PROBE_PATIENCE_MIN}))
        store.write(f"{probe}/file", content := os.urandom(1024))
        stored = store.read(f"{probe}/file")
        store.delete(probe)
        if stored != content:
            raise StorageError("it gives back other bytes than were written: use another service")
    except (StorageError, ValueError) as error:  # boto3 refuses a misspelt endpoint as a ValueError
        raise SettingError("storage.path", config.path, str(error)) from None


def check_writable(path: Path, setting: str = "storage.path", who: str = "every node") -> None:
    """Raise ``SettingError`` unless files can be made under ``path``, which is created.

    An error calls the setting ``setting``, and says that ``who`` must be able to write there.
    """
    probe = path / f".write-test-{os.getpid()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"strsweep")
        finally:
            probe.unlink(missing_ok=True)  # a full disk takes an empty file
    except OSError as error:
        known = _REMEDIES.get(error.errno or 0)
        remedy = f". {known}, or" if known else ":"
        told = f"Nothing can be written there ({error.strerror}){remedy} name a folder that {who} "
        raise SettingError(setting, str(path), f"{told}can write to.") from error

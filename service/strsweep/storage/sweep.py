"""The files of one sweep, wherever they are kept."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

from strsweep.config import Experiment, StorageConfig
from strsweep.storage.folder import FolderStore
from strsweep.storage.location import below, is_object_store
from strsweep.storage.store import Store

_SWEEPS = "sweeps"


class SweepStorage:
    """All that is stored of one sweep, below ``<storage.path>/sweeps/<sweep id>``.

    Names are relative, with forward slashes. Appending and writing survive a killed process: a
    reader sees a whole file, or whole lines and at most one torn last line.

    Args:
        store: Of this sweep alone.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def of(cls, experiment: Experiment) -> SweepStorage:
        """Return the storage of the sweep that ``experiment`` belongs to."""
        sweeps = below(experiment.storage.path, _SWEEPS)
        return cls.at(below(sweeps, experiment.sweep_id), experiment.storage)

    @classmethod
    def at(cls, location: str, config: StorageConfig | None = None) -> SweepStorage:
        """Return the storage of the sweep that lies at ``location``.

        Args:
            location: A folder or ``s3://BUCKET/PREFIX``, its last part being the sweep's id.
            config: Endpoint and region of an object store; by default the environment's.
        """
        return cls(store_at(location, config or StorageConfig()))

    @property
    def location(self) -> str:
        """The folder, or ``s3://BUCKET/PREFIX``."""
        return self._store.location

    def uri(self, name: str) -> str:
        """Return where ``name`` is; it need not exist."""
        return self._store.uri(name)

    def append_line(self, name: str, line: str) -> None:
        """Add ``line`` to the log ``name``; it is stored when this returns.

        Raises:
            StorageError: The storage refuses, is full, or stayed away too long.
        """
        self._store.append_line(name, line)

    def read(self, name: str) -> bytes:
        """Return the content of ``name``.

        Raises:
            FileNotFoundError: It does not exist.
            StorageError: The storage refuses, or stayed away too long.
        """
        return self._store.read(name)

    def write(self, name: str, content: bytes) -> None:
        """Write ``name`` whole: a reader sees the old content or the new one.

        Raises:
            StorageError: The storage refuses, is full, or stayed away too long.
        """
        self._store.write(name, content)

    def sizes(self, folder: str) -> dict[str, int]:
        """Return name -> bytes of all files below ``folder``, sorted by name.

        Raises:
            StorageError: The storage refuses, or stayed away too long.
        """
        return self._store.sizes(folder)

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders directly in ``folder``, sorted.

        Raises:
            StorageError: The storage refuses, or stayed away too long.
        """
        return self._store.folders(folder)

    def delete(self, folder: str) -> None:
        """Remove all files below ``folder``.

        Raises:
            StorageError: The storage refuses, or stayed away too long.
        """
        self._store.delete(folder)

    def local(self, folder: str) -> AbstractContextManager[Path]:
        """Hold the files of ``folder`` on this machine, for reading, during the ``with`` block."""
        return self._store.local(folder)

    def remove_rests(self, older_than: timedelta) -> int:
        """Remove half-written files and uploads that were begun before then; returns how many.

        Raises:
            StorageError: The storage refuses, or stayed away too long.
        """
        return self._store.remove_rests(older_than)


def other_sweeps(experiment: Experiment) -> dict[str, SweepStorage]:
    """Return id -> storage of all sweeps beside the one of ``experiment``."""
    sweeps = store_at(experiment.storage.path, experiment.storage)
    others = (name for name in sweeps.folders(_SWEEPS) if name != experiment.sweep_id)
    return {
        name: SweepStorage.at(sweeps.uri(f"{_SWEEPS}/{name}"), experiment.storage)
        for name in others
    }


def store_at(location: str, config: StorageConfig) -> Store:
    """Return the store of ``location``: a folder, or objects in a bucket."""
    if not is_object_store(location):
        return FolderStore(Path(location))
    from strsweep.storage.object_store import ObjectStore  # boto3 takes a second to import

    return ObjectStore(location, config)

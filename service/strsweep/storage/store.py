"""Where the files of a sweep are, and what such a place must be able to do."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

from strsweep.config import Experiment, StorageConfig
from strsweep.errors import SettingError, StorageError
from strsweep.storage.folder import FolderStore

_PROBE_PATIENCE_MIN = 0.25
"""Minutes that a service may be away when a job starts: somebody is looking at the screen."""


class Store(Protocol):
    """Named bytes under one root. Names are relative, with forward slashes.

    Every method may raise ``StorageError``: the place refuses, is full, or stayed away for too
    long. Writing is atomic: a reader sees the old content or the new one.
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

    def remove_rests(self, older_than: timedelta) -> int:
        """Remove what writes that were interrupted before then have left; returns how many."""
        ...


def is_object_store(location: str) -> bool:
    """Return whether it is ``s3://BUCKET/PREFIX``, and no folder."""
    return location.startswith("s3://")


def storage_of(experiment: Experiment) -> Store:
    """Return the store of a sweep alone, ``PATH/sweeps/SWEEP_ID``."""
    config = experiment.storage
    return store_at(f"{config.path.rstrip('/')}/sweeps/{experiment.sweep_id}", config)


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
    """Check that the storage of an experiment can be written to.

    Raises:
        SettingError: It cannot.
    """
    if not is_object_store(config.path):
        check_writable(Path(config.path))
        return
    probe = f".write-test-{os.getpid()}"
    try:
        store = store_at(config.path, config.model_copy(update={"patience": _PROBE_PATIENCE_MIN}))
        store.write(f"{probe}/file", b"strsweep")
        store.delete(probe)
    except (StorageError, ValueError) as error:  # boto3 refuses a misspelt endpoint as a ValueError
        raise SettingError("storage.path", config.path, str(error)) from None


def check_writable(path: Path, setting: str = "storage.path", who: str = "every node") -> None:
    """Check that files can be made under ``path``, which is created.

    Args:
        path: A folder.
        setting: What an error calls the setting.
        who: Must be able to write there, says the error.

    Raises:
        SettingError: They cannot.
    """
    probe = path / f".write-test-{os.getpid()}"
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"strsweep")
        probe.unlink()
    except OSError as error:
        told = f"Nothing can be written there ({error.strerror}): name a folder that {who} can "
        raise SettingError(setting, str(path), f"{told}write to.") from error

"""Find out before anything expensive whether a place can be written to."""

from __future__ import annotations

import os
from pathlib import Path

from strsweep.config import StorageConfig
from strsweep.errors import SettingError, StorageError
from strsweep.storage.location import is_object_store

_PROBE_PATIENCE_MIN = 0.25
"""Minutes that a service may be away when a job starts: somebody is looking at the screen."""


def check_storage(config: StorageConfig) -> None:
    """Check that the storage of an experiment can be written to.

    Raises:
        SettingError: It cannot.
    """
    if is_object_store(config.path):
        _check_bucket(config)
    else:
        check_writable(Path(config.path))


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
        raise SettingError(
            setting,
            str(path),
            f"Nothing can be written there ({error.strerror}): name a folder that {who} can "
            "write to.",
        ) from error


def _check_bucket(config: StorageConfig) -> None:
    from strsweep.storage.object_store import ObjectStore  # boto3 takes a second to import

    short = config.model_copy(update={"patience": _PROBE_PATIENCE_MIN})
    probe = f".write-test-{os.getpid()}"
    try:
        store = ObjectStore(config.path, short)
        store.write(f"{probe}/file", b"strsweep")
        store.delete(probe)
    except (StorageError, ValueError) as error:  # boto3 refuses a misspelt endpoint as a ValueError
        raise SettingError("storage.path", config.path, str(error)) from None

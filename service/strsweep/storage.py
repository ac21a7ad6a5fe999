"""The one place that touches files of a sweep: append, read, list, write whole."""

from __future__ import annotations

import os
from pathlib import Path

from strsweep.config import Experiment
from strsweep.errors import SettingError


class SweepStorage:
    """The folder of one sweep, ``<storage.path>/sweeps/<sweep id>``.

    Names are relative paths with forward slashes. Appending and writing survive a killed process:
    a reader sees a whole file, or whole lines and at most one torn last line.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def of(cls, experiment: Experiment) -> SweepStorage:
        """Return the storage of the sweep that ``experiment`` belongs to."""
        return cls(experiment.storage.path / "sweeps" / experiment.sweep_id)

    def path(self, name: str) -> Path:
        """Return where ``name`` is; it need not exist."""
        return self.root / name

    def append_line(self, name: str, line: str) -> None:
        """Append ``line`` and flush it to disk. A torn last line is closed first."""
        path = self._writable(name)
        with path.open("ab+") as file:
            file.write((b"" if _ends_cleanly(path) else b"\n") + line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self, name: str) -> bytes:
        """Return the content of ``name``.

        Raises:
            FileNotFoundError: It does not exist.
        """
        return self.path(name).read_bytes()

    def size(self, name: str) -> int:
        """Return the bytes of ``name``.

        Raises:
            FileNotFoundError: It does not exist.
        """
        return self.path(name).stat().st_size

    def names(self, folder: str) -> list[str]:
        """List the files directly in ``folder``, sorted; none if it does not exist."""
        path = self.path(folder)
        if not path.is_dir():
            return []
        return sorted(f"{folder}/{entry.name}" for entry in path.iterdir() if entry.is_file())

    def write(self, name: str, content: bytes) -> None:
        """Write ``name`` whole: a reader sees the old content or the new one."""
        path = self._writable(name)
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def _writable(self, name: str) -> Path:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


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


def _ends_cleanly(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"

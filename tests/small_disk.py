"""A real disk that is soon full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(path: Path, size: str, *how_unmounted: str) -> Generator[Path]:
    """Mount a disk of ``size``, such as ``1m``, at ``path``; skips where nobody may."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a disk")
    try:
        yield path
    finally:
        subprocess.run(["umount", *how_unmounted, str(path)], check=True)

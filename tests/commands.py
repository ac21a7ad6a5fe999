"""Commands that tests run, and what they say."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest


def ran(command: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run ``command`` to its end, however that is; ``options`` are those of ``subprocess.run``."""
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def called(*arguments: str) -> int:
    """Run the command ``strsweep`` in this process, and return its exit code."""
    from strsweep.cli import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["strsweep", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    assert isinstance(ended.value.code, int)
    return ended.value.code

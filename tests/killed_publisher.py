"""Publishes a sweep again and again, killed each time at the next boundary that it is told.

python killed_publisher.py STORAGE URI NAME BOUNDARY...

A boundary is CLASS.METHOD[:NUMBER], the process being killed when that call (the first, or that
one) has been carried out and before anybody learns of it. The last process is not killed. Prints
the boundary and the exit code of each process.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from recorded_sweep import experiment_of

from strsweep import registry
from strsweep.journal import Journal
from strsweep.storage.store import FolderStore

_CLASSES: dict[str, Any] = {each.__name__: each for each in (MlflowClient, FolderStore, Journal)}


def kill_after(boundary: str) -> None:
    """Let the process die right after the call that ``boundary`` names."""
    call, _, number = boundary.partition(":")
    kind, method = call.split(".")
    original, left = getattr(_CLASSES[kind], method), [int(number or 1)]

    def fatal(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(_CLASSES[kind], method, fatal)


def publish(storage: str, uri: str, name: str, boundary: str | None) -> int:
    """Publish in a process of its own; returns its exit code, negative if a signal ended it."""
    process = os.fork()
    if process == 0:
        if boundary is not None:
            kill_after(boundary)
        delivery = registry.publish_journal(experiment_of(Path(storage), uri, name))
        os._exit(0 if delivery.is_complete else 1)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    place, server, sweep, *boundaries = sys.argv[1:]
    for each in [*boundaries, None]:
        code = publish(place, server, sweep, each)
        print(f"{each} {code}", flush=True)

"""Measure the coverage of every process of a test run, also of those that are killed."""

from __future__ import annotations

import atexit
import importlib
import os
import sys
import threading
from importlib.abc import MetaPathFinder


class StartsWithStrsweep(MetaPathFinder):
    """Begins when strsweep is imported: most processes of Ray never do, and are left alone."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        """Find nothing; others do."""
        if fullname == "strsweep":
            sys.meta_path.remove(self)
            if (
                "ray" in sys.modules
            ):  # a worker needs it next, and imports it faster without a trace
                importlib.import_module("ray.train.torch")
            measure()


def measure() -> None:
    """Start the measurement, save it twice a second and at the end."""
    import coverage

    measured = coverage.Coverage(
        config_file=os.environ["COVERAGE_PROCESS_START"],
        data_file=os.environ["STRSWEEP_COVERAGE_FILE"],
        data_suffix=True,
    )
    stop = threading.Event()

    def save_often() -> None:
        """Save until the process ends, however it ends."""
        while not stop.wait(0.5):
            measured.save()

    def save_last() -> None:
        """Let nothing run while the interpreter takes itself apart: that crashes it."""
        stop.set()
        saver.join()
        measured.stop()
        measured.save()

    saver = threading.Thread(target=save_often, name="coverage", daemon=True)
    saver.start()
    atexit.register(save_last)
    measured.start()


if "COVERAGE_PROCESS_START" in os.environ:
    sys.meta_path.insert(0, StartsWithStrsweep())

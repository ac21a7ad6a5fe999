"""Measure the coverage of every process of a test run, also of those that are killed."""

from __future__ import annotations

import atexit
import os
import threading

if "COVERAGE_PROCESS_START" in os.environ:
    import coverage

    measured = coverage.Coverage(
        config_file=os.environ["COVERAGE_PROCESS_START"],
        data_file=os.environ["STRSWEEP_COVERAGE_FILE"],
        data_suffix=True,
    )
    measured.start()

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

    stop = threading.Event()
    saver = threading.Thread(target=save_often, name="coverage", daemon=True)
    saver.start()
    atexit.register(save_last)

"""The report beside the journal of its sweep: written at any time, and renewed while runs train."""

from __future__ import annotations

import time

from strsweep.config import Experiment
from strsweep.journal import SweepRecord
from strsweep.report.contents import contents_of, stored_receipts
from strsweep.report.page import REPORT, report_files
from strsweep.report.rows import Link
from strsweep.status import StartedSweep
from strsweep.storage import storage_of

REPORT_FILE = f"report/{REPORT}"
"""Name of the page in the storage of its sweep."""
_INTERVAL_S, _LEAST_REST = 60.0, 30
"""Seconds from one renewal to the next, and how many times as long as the last one took."""


def write_report(sweep: StartedSweep) -> str:
    """Write the report of a sweep that runs or has ended, and return the address of its page.

    Raises:
        StorageError: The storage refuses, or did not answer in time.
    """
    store_report(sweep)
    return sweep.storage.uri(REPORT_FILE)


def store_report(sweep: StartedSweep, link: Link | None = None) -> dict[str, bytes]:
    """Write the report, and return its files by name; see ``contents_of``.

    Raises:
        StorageError: The storage refuses, or did not answer in time.
    """
    receipts = stored_receipts(sweep)
    made = report_files(contents_of(sweep.experiment, sweep.record, receipts, link))
    files = {f"report/{name}": content for name, content in made.items()}
    for name, content in files.items():
        sweep.storage.write(name, content)
    return files


class LiveReport:
    """A tracker that renews the report: after each model, else once a minute if there is news."""

    def __init__(self, experiment: Experiment) -> None:
        self._experiment, self._storage = experiment, storage_of(experiment)
        self._seen = self._models = 0
        self._due = 0.0
        self._is_failing = False

    def show(self, record: SweepRecord) -> None:
        """Write the report if it is due; what prevents that is said once, and raises nothing."""
        began, models = time.monotonic(), len(record.landed) + len(record.published)
        is_due = models != self._models or began >= self._due
        if not record.started or record.num_events == self._seen or not is_due:
            return
        self._seen, self._models = record.num_events, models
        try:
            store_report(StartedSweep(self._experiment, record, self._storage))
        except Exception as error:  # whatever it is: the sweep does not depend on its report
            if not self._is_failing:
                print(f"the report is not renewed: {error!r}", flush=True)
            self._is_failing = True
        else:
            self._is_failing = False
        took = time.monotonic() - began
        self._due = began + max(_INTERVAL_S, _LEAST_REST * took)

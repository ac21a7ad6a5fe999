"""What a tracker is: it shows a sweep somewhere, and the journal is all that it is given."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Protocol

from strsweep.config import Experiment
from strsweep.errors import SettingError
from strsweep.imports import called
from strsweep.journal import Journal, SweepRecord, replay
from strsweep.storage import storage_of

INTERVAL_S = 10.0
"""Between two looks at the journal."""


class Tracker(Protocol):
    """Shows a sweep. MLflow is one (``registry.tracking``); ``tracking.also`` names others.

    A file beside the experiment::

        class Board:
            def __init__(self, experiment):
                self.board = connect(experiment.sweep_id)

            def show(self, record):
                for run_id, run in record.runs.items():
                    self.board.plot(run_id, [row.metrics for row in run.epochs.values()])
    """

    def show(self, record: SweepRecord) -> None:
        """Show all that is known of the sweep.

        It is called every few seconds and once at the end. Showing the same twice must change
        nothing: a job that continues begins anew. What it raises is said once, and it is called
        again; training does not wait for it.
        """
        ...


class OwnTrackers:
    """Keeps trackers in step with the journal, in the background.

    Args:
        experiment: Of the sweep.
        trackers: By name; by default those that the experiment names.

    Raises:
        SettingError: One cannot be made.
    """

    def __init__(
        self, experiment: Experiment, trackers: Mapping[str, Tracker] | None = None
    ) -> None:
        self._journal = Journal(storage_of(experiment))
        if trackers is None:
            trackers = {path: _made(path, experiment) for path in experiment.tracking.also}
        self._trackers = trackers
        self._failing: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="own-trackers", daemon=True)

    def __enter__(self) -> OwnTrackers:
        """Begin to show."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Show the end."""
        self._stop.set()
        self._thread.join()
        self._show()

    def _follow(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self._show()

    def _show(self) -> None:
        for path, tracker in self._trackers.items():
            self._try(path, tracker)

    def _try(self, path: str, tracker: Tracker) -> None:
        try:
            tracker.show(replay(self._journal.read()))
        except Exception as error:  # a user's own tracker can raise anything
            if path not in self._failing:
                print(f"{path} does not show the sweep: {error!r}", flush=True)
            self._failing.add(path)
        else:
            self._failing.discard(path)


def _made(path: str, experiment: Experiment) -> Tracker:
    made = called(path, "tracking.also", {"experiment": experiment})
    if not callable(getattr(made, "show", None)):
        remedy = f"{type(made).__name__} has no method show(record)."
        raise SettingError("tracking.also", path, remedy)
    return made

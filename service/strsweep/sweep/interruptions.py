"""Why the workers of a run were started anew: otherwise only Ray's logs would tell."""

from __future__ import annotations

import logging
from typing import Any

from ray.train.v2.api.callback import UserCallback

from strsweep.config import Experiment
from strsweep.errors import StorageError
from strsweep.journal import Journal, RunInterrupted
from strsweep.storage import storage_of, store_at

_log = logging.getLogger(__name__)


class Interruptions(UserCallback):
    """Writes to the journal what Ray Train learns of workers that ended with an error.

    It is called in the process that watches over them, so it has a journal file of its own.

    Args:
        experiment: Of the run.
        run_id: Of the run.
    """

    def __init__(self, experiment: Experiment, run_id: str) -> None:
        self._location = storage_of(experiment).location
        self._config = experiment.storage
        self._run_id = run_id

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Note the error of the first worker that has one.

        Args:
            run_context: Of Ray; not used.
            worker_exceptions: Rank -> its error.
        """
        rank, error = min(worker_exceptions.items())
        event = RunInterrupted(run_id=self._run_id, reason=f"worker {rank}: {_last_line(error)}")
        storage = store_at(self._location, self._config)
        try:
            Journal(storage, writer=f"{self._run_id}-interruptions").append(event)
        except StorageError:  # what interrupts a run must not end it
            _log.exception("%s was interrupted, and the journal cannot be written", self._run_id)


def _last_line(error: Exception) -> str:
    """Return what Ray puts a traceback before."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]

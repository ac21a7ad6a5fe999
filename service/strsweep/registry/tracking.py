"""The one writer from the journal to MLflow. Replaying it again changes nothing."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress

import tenacity
from mlflow import MlflowClient
from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING
from mlflow.exceptions import MlflowException, RestException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.utils.file_utils import ExclusiveFileLock
from sqlalchemy.exc import OperationalError

from strsweep.config import Experiment
from strsweep.errors import SettingError, StrsweepError
from strsweep.journal import Journal, SweepRecord, replay
from strsweep.progress import say
from strsweep.registry.registered_model import check_registered_model
from strsweep.registry.run_page import run_name, show_run
from strsweep.registry.server import (
    MAX_COLLISIONS,
    again_after_collisions,
    check_server,
    connect,
    experiment_id,
    first_line,
    refusals,
    runs_page,
)
from strsweep.registry.sweep_page import show_progress, sweep_run
from strsweep.registry.sweep_runs import NAME_TAG, PARENT_TAG, SWEEP, SweepRuns, show_as
from strsweep.registry.tracker import INTERVAL_S
from strsweep.storage import storage_of


class Tracking:
    """Keeps MLflow in step with the journal, in the background of a sweep.

    As a context manager it delivers every few seconds and once more at the end. While the server is
    away nothing is lost and nothing waits; ``is_behind`` tells that something is still to deliver.
    What is still to deliver stays in the journal: this holds a few numbers per run. MLflow's own
    ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`` makes it watch the machine of the job, too.

    Raises:
        SettingError: Results go to a database, and MLflow cannot use it.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._journal = Journal(storage_of(experiment))
        self.client = _opened(experiment)
        self._runs: SweepRuns | None = None
        """None: nothing is known of what the server has, or it is in doubt."""
        self.then: Callable[[SweepRecord], None] | None = None
        """Called in the background with what was delivered, each time all of it was."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="mlflow-tracking", daemon=True)
        self._has_told = False
        self.is_behind = False

    def __enter__(self) -> Tracking:
        """Look whether the server takes us, and start delivering in the background.

        Raises:
            SettingError: It refuses what the end needs, the experiment was deleted, or the
                registered model is somebody else's.
        """
        try:
            has_model = check_registered_model(self.client, self.experiment)
            place = check_server(self.client, self.experiment, has_model=has_model)
            if self.experiment.tracking.is_server:
                say(f"MLflow: {runs_page(self.experiment.tracking.uri, place)}")
        except MlflowException as error:
            self._say_trouble(error)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Deliver what is left; after an error nothing is under way any more."""
        self._stop.set()
        self._thread.join()
        self.try_deliver()
        if error[0] is not None:
            self.interrupt()

    def interrupt(self) -> None:
        """Show all that is under way as killed: the job is stopped. The next job takes it up."""
        self._stop.set()
        with suppress(MlflowException):  # while the server is away it cannot show anything
            for shown in self._runs.under_way if self._runs is not None else ():
                show_as(self.client, shown, "KILLED", time.time())

    @property
    def is_ending(self) -> bool:
        """True once nothing new is to be begun in the background."""
        return self._stop.is_set()

    @property
    def runs(self) -> SweepRuns:
        """What MLflow has; only after a delivery."""
        assert self._runs is not None
        return self._runs

    def mlflow_id(self, run_id: str | None) -> str:
        """Return MLflow's id of a run, or of the sweep for None, once it was delivered."""
        shown = self.runs.get(run_id or SWEEP)
        assert shown is not None
        return shown.mlflow_id

    @again_after_collisions
    def deliver(self) -> SweepRecord:
        """Bring MLflow up to the journal; returns what it then shows.

        Raises:
            SettingError: The server refuses us, or the experiment was deleted.
            MlflowException: The server does not answer, or not as it should; a later call delivers
                the rest.
        """
        record = replay(self._journal.read())
        self.show(record)
        return record

    def show(self, record: SweepRecord) -> None:
        """See ``Tracker``; raises what ``deliver`` does."""
        if not record.started:
            return
        try:
            with refusals(self.experiment):
                self._deliver(record)
        except (MlflowException, StrsweepError):
            self._runs = None  # a call may have been carried out all the same: look again
            raise

    def try_deliver(self) -> SweepRecord | None:
        """Deliver if that is possible, and say once if it is not; returns what was delivered."""
        try:
            record = self.deliver()
        except MlflowException as error:
            self._say_trouble(error)
        except StrsweepError as error:
            self._say(f"MLflow lacks results that the journal keeps: {error}")
        else:
            self.is_behind = self._has_told = False
            return record
        self.is_behind = True
        return None

    def doubt(self) -> None:
        """Forget what MLflow has: the next delivery looks."""
        self._runs = None

    def close_sweep(self, record: SweepRecord) -> None:
        """Mark the sweep's own MLflow run as finished.

        Raises:
            MlflowException: The server does not answer.
        """
        shown = self.runs.get(SWEEP)
        assert shown is not None
        ends = [max(run.times) for run in record.runs.values()]
        show_as(self.client, shown, "FINISHED", max(ends, default=record.started[-1].time))

    def _loop(self) -> None:
        is_unwatched = MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get()
        while not self._stop.is_set():
            record = self.try_deliver()
            if record is not None and is_unwatched and self._runs is not None:
                uri, is_unwatched = self.experiment.tracking.uri, False
                sweep = self.mlflow_id(None)
                SystemMetricsMonitor(sweep, resume_logging=True, tracking_uri=uri).start()
            if record is not None and self.then is not None:
                self.then(record)
            self._stop.wait(INTERVAL_S)

    def _say_trouble(self, error: MlflowException) -> None:
        uri, what, until = self.experiment.tracking.uri, "cannot be reached", "it can"
        if isinstance(error, RestException):
            what, until = "answers with an error", "it is taken"
        text = f"MLflow at {uri} {what}; the journal keeps everything until {until}."
        self._say(f"{text} ({first_line(error)})")

    def _say(self, text: str) -> None:
        if not self._has_told:
            print(text, flush=True)
        self._has_told = True

    def _deliver(self, record: SweepRecord) -> None:
        is_new = self._runs is None
        if self._runs is None:
            place = experiment_id(self.client, self.experiment)
            self._runs = SweepRuns(self.client, place, self.experiment.sweep_id)
        runs = self._runs
        sweep = runs.get(SWEEP)
        if sweep is None or is_new:
            sweep = sweep_run(self.client, runs, self.experiment, record)
            show_as(self.client, sweep, "RUNNING")
        for run in record.runs.values():
            shown = runs.get(run.run_id)
            if shown is None:
                tags = {NAME_TAG: run_name(run, record), PARENT_TAG: sweep.mlflow_id}
                shown = runs.make(run.run_id, tags, start=run.proposed.time)
            show_run(self.client, shown, run, record)
        show_progress(self.client, sweep, self.experiment, record)
        if not runs.settle():
            self._runs = None
            self._deliver(record)  # another writer was first: its run gets our values


def _opened(experiment: Experiment) -> MlflowClient:
    """Return a client; a server is not asked yet, a database is made by one job alone."""
    tracking = experiment.tracking
    if tracking.is_server:
        return connect(experiment)
    retrying = tenacity.Retrying(
        # Another job may be making the same tables: next time they are there.
        retry=tenacity.retry_if_not_exception_type((ImportError, OperationalError)),
        stop=tenacity.stop_after_attempt(MAX_COLLISIONS),
        wait=tenacity.wait_random(1, 5),
        reraise=True,
    )
    try:
        with ExitStack() as held:
            if (database := tracking.database) is not None:
                database.parent.mkdir(parents=True, exist_ok=True)
                lock = database.with_name(f".{database.name}.lock")
                held.enter_context(ExclusiveFileLock(str(lock)))
                # MLflow would try for minutes to open what is no database.
                with closing(sqlite3.connect(database)) as opened:
                    opened.execute("PRAGMA schema_version")
            return retrying(connect, experiment)
    except Exception as error:  # MLflow, Alembic, SQLAlchemy and drivers have no error in common
        told = f"MLflow cannot use this database: {first_line(error)}. Restore it, or name another."
        raise SettingError("tracking.uri", tracking.uri, told) from error

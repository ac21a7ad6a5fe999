"""The one writer from the journal to MLflow. Replaying it again changes nothing."""

from __future__ import annotations

import threading
import time

from mlflow.environment_variables import MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING
from mlflow.exceptions import MlflowException, RestException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random

from strsweep.config import Experiment
from strsweep.errors import StrsweepError
from strsweep.journal import Journal, SweepRecord, replay
from strsweep.registry.registered_model import check_registered_model
from strsweep.registry.run_page import end_time, run_name, show_run
from strsweep.registry.server import connect, experiment_id, first_line, is_collision, refusals
from strsweep.registry.sweep_page import sweep_run, totals
from strsweep.registry.sweep_runs import SweepRuns, show_as
from strsweep.storage import storage_of

_INTERVAL_S = 10.0
_MAX_COLLISIONS = 4
"""Of one delivery with those of other writers; each time it looks what they wrote."""


class Tracking:
    """Keeps MLflow in step with the journal, in the background of a sweep.

    As a context manager it delivers every few seconds and once more at the end. While the server is
    away nothing is lost and nothing waits; ``is_behind`` tells that something is still to deliver.
    What is still to deliver stays in the journal: this holds a few numbers per run. MLflow's own
    ``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING`` makes it watch the machine of the job, too.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self._journal = Journal(storage_of(experiment))
        self.client = connect(experiment)
        self._runs: SweepRuns | None = None
        """None: nothing is known of what the server has, or it is in doubt."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="mlflow-tracking", daemon=True)
        self._has_told = False
        self.is_behind = False

    def __enter__(self) -> Tracking:
        """Look whether the server takes us, and start delivering in the background.

        Raises:
            SettingError: It refuses us, the experiment was deleted, or the registered model is
                somebody else's.
        """
        try:
            experiment_id(self.client, self.experiment)
            check_registered_model(self.client, self.experiment)
        except MlflowException as error:
            self._say_trouble(error)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Deliver what is left."""
        self._stop.set()
        self._thread.join()
        self.try_deliver()

    def interrupt(self) -> None:
        """Show all that is under way as killed: the job is stopped. The next job takes it up."""
        self._stop.set()
        for shown in self._runs.under_way if self._runs is not None else ():
            show_as(self.client, shown, "KILLED", time.time())

    @property
    def runs(self) -> SweepRuns:
        """What MLflow has; only after a delivery."""
        assert self._runs is not None
        return self._runs

    def mlflow_id(self, run_id: str | None) -> str:
        """Return MLflow's id of a run, or of the sweep for None, once it was delivered."""
        shown = self.runs.get(run_id or "")
        assert shown is not None
        return shown.mlflow_id

    @retry(
        retry=retry_if_exception(is_collision),
        stop=stop_after_attempt(_MAX_COLLISIONS),
        wait=wait_random(0.1, 1),
        reraise=True,
    )
    def deliver(self) -> None:
        """Bring MLflow up to the journal.

        Raises:
            SettingError: The server refuses us, or the experiment was deleted.
            MlflowException: The server does not answer, or not as it should; a later call delivers
                the rest.
        """
        events = self._journal.read()
        record = replay(events)
        if not record.started:
            return
        try:
            with refusals(self.experiment):
                self._deliver(record, len(events))
        except (MlflowException, StrsweepError):
            self._runs = None  # a call may have been carried out all the same: look again
            raise

    def try_deliver(self) -> bool:
        """Deliver if that is possible, and say once if it is not; returns True if it was."""
        try:
            self.deliver()
        except MlflowException as error:
            self._say_trouble(error)
        except StrsweepError as error:
            self._say(f"MLflow lacks results that the journal keeps: {error}")
        else:
            self.is_behind = self._has_told = False
            return True
        self.is_behind = True
        return False

    def doubt(self) -> None:
        """Forget what MLflow has: the next delivery looks."""
        self._runs = None

    def close_sweep(self, record: SweepRecord) -> None:
        """Mark the sweep's own MLflow run as finished.

        Raises:
            MlflowException: The server does not answer.
        """
        shown = self.runs.get("")
        assert shown is not None
        ends = [end_time(run) for run in record.runs.values()]
        show_as(self.client, shown, "FINISHED", max(ends, default=record.started[-1].time))

    def _loop(self) -> None:
        is_unwatched = MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING.get()
        while not self._stop.is_set():
            if self.try_deliver() and is_unwatched and self._runs is not None:
                uri, is_unwatched = self.experiment.tracking.uri, False
                sweep = self.mlflow_id(None)
                SystemMetricsMonitor(sweep, resume_logging=True, tracking_uri=uri).start()
            self._stop.wait(_INTERVAL_S)

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

    def _deliver(self, record: SweepRecord, num_events: int) -> None:
        is_new = self._runs is None
        if self._runs is None:
            place = experiment_id(self.client, self.experiment)
            self._runs = SweepRuns(self.client, place, self.experiment.sweep_id)
        runs = self._runs
        sweep = runs.get("")
        if sweep is None or is_new:
            sweep = sweep_run(self.client, runs, self.experiment, record)
            show_as(self.client, sweep, "RUNNING")
        for run in record.runs.values():
            landed = [event for event in record.landed.values() if event.run_id == run.run_id]
            shown = runs.get(run.run_id)
            if shown is None:
                tags = {
                    "mlflow.runName": run_name(run),
                    "mlflow.parentRunId": sweep.mlflow_id,
                    "strsweep.reason": run.proposed.reason,
                }
                shown = runs.make(run.run_id, tags, start=run.proposed.time)
            show_run(self.client, shown, run, landed)
        if news := totals(record, sweep, num_events):
            self.client.log_batch(sweep.mlflow_id, metrics=news)
        if not runs.settle():
            self._runs = None
            self._deliver(record, num_events)  # another writer was first: its run gets our values

"""The one writer from the journal to MLflow. Replaying it again changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from mlflow.entities import Param, RunTag
from mlflow.exceptions import MlflowException

from strsweep import __version__
from strsweep.config import Experiment, Target
from strsweep.journal import Journal, ModelLanded, RunRecord, SweepRecord, replay
from strsweep.registry.layer_table import layer_csv
from strsweep.registry.server import connect, experiment_id
from strsweep.registry.shown import (
    LANDED_TAG,
    METRICS,
    chosen,
    end_tags,
    epoch_metrics,
    landed_metrics,
    landed_tag,
    recipe,
    run_name,
    status,
)
from strsweep.storage import SweepStorage

_INTERVAL_S = 10.0
_METRICS_PER_BATCH = 1000
"""MLflow's limit for one call."""

SWEEP_TAG, RUN_TAG = "strsweep.sweep_id", "strsweep.run_id"


class Tracking:
    """Keeps MLflow in step with the journal, in the background of a sweep.

    As a context manager it delivers every few seconds and once more at the end. While the server is
    away nothing is lost and nothing waits; ``is_behind`` tells that something is still to deliver.

    Args:
        experiment: Names server, MLflow experiment and sweep.
    """

    def __init__(self, experiment: Experiment) -> None:
        self._experiment = experiment
        self._sweep_id = experiment.sweep_id
        self._journal = Journal(SweepStorage.of(experiment))
        self.client = connect(experiment)
        self._logged: dict[str, set[int]] = {}
        """MLflow run id -> epochs it has."""
        self._states: dict[str, str] = {}
        """Our run id -> the state that MLflow was told; a stopped run can go on."""
        self._landed: set[tuple[Target, str]] = set()
        self._mlflow_ids: dict[str | None, str] = {}
        """Our run id -> MLflow's; None stands for the sweep."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="mlflow-tracking", daemon=True)
        self.is_behind = False

    def __enter__(self) -> Tracking:
        """Start delivering in the background."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Deliver what is left."""
        self._stop.set()
        self._thread.join()
        self._try_deliver()

    def mlflow_id(self, run_id: str | None) -> str:
        """Return MLflow's id of a run, or of the sweep for None, once it was delivered."""
        return self._mlflow_ids[run_id]

    def deliver(self) -> None:
        """Bring MLflow up to the journal.

        Raises:
            MlflowException: The server does not answer; a later call delivers the rest.
        """
        record = replay(self._journal.read())
        if not record.started:
            return
        place = experiment_id(self.client, self._experiment)
        self._find_or_create(place, None, self._sweep_tags(), self._create_sweep)
        for run in record.runs.values():
            self._deliver_run(place, run)
        for event in record.landed.values():
            self._deliver_landed(record, event)
        self._deliver_totals(record)

    def _loop(self) -> None:
        while not self._stop.is_set():
            self._try_deliver()
            self._stop.wait(_INTERVAL_S)

    def _try_deliver(self) -> None:
        try:
            self.deliver()
        except MlflowException as error:
            if not self.is_behind:
                reason = str(error).splitlines()[0]
                print(
                    f"MLflow at {self._experiment.tracking.uri} cannot be reached; the journal "
                    f"keeps everything until it can. ({reason:.200})",
                    flush=True,
                )
            self.is_behind = True
        else:
            self.is_behind = False

    def _deliver_run(self, place: str, run: RunRecord) -> None:
        state = status(run)
        if state != "RUNNING" and self._states.get(run.run_id) == state:
            return
        self._find_or_create(
            place,
            run.run_id,
            self._run_tags(run),
            lambda mlflow_id: self._create_run(run, mlflow_id),
        )
        mlflow_id = self.mlflow_id(run.run_id)
        self._deliver_epochs(mlflow_id, run)
        if self._states.get(run.run_id) != state:
            self._deliver_state(mlflow_id, run, state)
            self._states[run.run_id] = state

    def _deliver_state(self, mlflow_id: str, run: RunRecord, state: str) -> None:
        if run.finished is not None:
            self.client.log_text(mlflow_id, layer_csv(run.finished.layers), "layers.csv")
        if run.unreadable and not run.is_open:
            names = "\n".join(run.unreadable) + "\n"
            self.client.log_text(mlflow_id, names, "unreadable_images.txt")
        self.client.log_batch(mlflow_id, tags=end_tags(run))
        if state == "RUNNING":
            self.client.update_run(mlflow_id, status=state)  # it may be killed there: it goes on
        else:
            self.client.set_terminated(mlflow_id, state)

    def _deliver_landed(self, record: SweepRecord, event: ModelLanded) -> None:
        key = (event.target, event.run_id)
        if key in self._landed or event.run_id not in record.runs:
            return
        mlflow_id, tag = self.mlflow_id(event.run_id), landed_tag(event)
        known = self.client.get_run(mlflow_id).data.tags
        if known.get(tag.key) != tag.value:
            step = sum(name.startswith(LANDED_TAG) for name in known)
            self.client.log_batch(mlflow_id, metrics=landed_metrics(event, step), tags=[tag])
        self._landed.add(key)

    def _deliver_epochs(self, mlflow_id: str, run: RunRecord) -> None:
        # MLflow keeps every value it is sent, so an epoch must be sent once. A batch is written
        # whole or not at all: an epoch is never split over two.
        if mlflow_id not in self._logged:
            history = self.client.get_metric_history(mlflow_id, "sparsity")
            self._logged[mlflow_id] = {metric.step for metric in history}
        logged = self._logged[mlflow_id]
        new = [run.epochs[epoch] for epoch in sorted(run.epochs) if epoch not in logged]
        size = _METRICS_PER_BATCH // len(METRICS)
        for start in range(0, len(new), size):
            epochs = new[start : start + size]
            metrics = [metric for event in epochs for metric in epoch_metrics(event)]
            self.client.log_batch(mlflow_id, metrics=metrics)
            logged.update(int(event.metrics["epoch"]) for event in epochs)

    def _deliver_totals(self, record: SweepRecord) -> None:
        sweep = self.mlflow_id(None)
        totals = {
            "runs": len(record.runs),
            "epochs_trained": record.epochs_trained,
            "models_published": len(record.published),
        }
        known = self.client.get_run(sweep).data.metrics
        for key, value in totals.items():
            if known.get(key) != value:
                self.client.log_metric(sweep, key, value)

    def close_sweep(self) -> None:
        """Mark the sweep's own MLflow run as finished."""
        self.deliver()
        self.client.set_terminated(self.mlflow_id(None), "FINISHED")

    def _find_or_create(
        self, place: str, run_id: str | None, tags: dict[str, str], fill: Callable[[str], None]
    ) -> None:
        if run_id in self._mlflow_ids:
            return
        query = f"tags.`{SWEEP_TAG}` = '{self._sweep_id}' and tags.`{RUN_TAG}` = '{run_id or ''}'"
        found = self.client.search_runs([place], query, max_results=1)
        if found:
            mlflow_id = found[0].info.run_id
        else:
            created = self.client.create_run(place, tags=tags, run_name=tags["mlflow.runName"])
            mlflow_id = created.info.run_id
        fill(mlflow_id)  # also on a found run: a crash may have left it bare
        self._mlflow_ids[run_id] = mlflow_id

    def _create_sweep(self, mlflow_id: str) -> None:
        self.client.update_run(mlflow_id, status="RUNNING")
        self.client.log_batch(
            mlflow_id,
            params=[Param(key, value) for key, value in recipe(self._experiment).items()],
            tags=[RunTag("strsweep.targets", ", ".join(map(str, self._experiment.search.targets)))],
        )
        self.client.log_dict(mlflow_id, self._experiment.model_dump(mode="json"), "experiment.yaml")

    def _create_run(self, run: RunRecord, mlflow_id: str) -> None:
        settings = chosen(run.proposed.settings)
        params = [Param(key, f"{value:g}") for key, value in settings.items()]
        self.client.log_batch(mlflow_id, params=params)

    def _sweep_tags(self) -> dict[str, str]:
        return {
            "mlflow.runName": self._sweep_id,
            SWEEP_TAG: self._sweep_id,
            RUN_TAG: "",
            "strsweep.version": __version__,
        }

    def _run_tags(self, run: RunRecord) -> dict[str, str]:
        source = run.proposed.adopted_from
        return ({} if source is None else {"strsweep.adopted_from": source}) | {
            "mlflow.runName": run_name(run),
            "mlflow.parentRunId": self.mlflow_id(None),
            SWEEP_TAG: self._sweep_id,
            RUN_TAG: run.run_id,
            "strsweep.reason": run.proposed.reason,
        }

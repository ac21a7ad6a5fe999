"""The one writer from the journal to MLflow. Replaying it again changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from strsweep import __version__
from strsweep.config import Experiment, RunSettings
from strsweep.journal import EpochFinished, Journal, RunRecord, SweepRecord, replay
from strsweep.registry.layer_table import layer_csv
from strsweep.registry.server import connect, experiment_id
from strsweep.storage import SweepStorage

_INTERVAL_S = 10.0
_METRICS_PER_BATCH = 1000
"""MLflow's limit for one call."""
_SHOWN = ("sparsity", "accuracy", "train_loss", "val_loss", "learning_rate", "macs")

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
        self._closed: set[str] = set()
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
        if run.run_id in self._closed:
            return
        self._find_or_create(
            place,
            run.run_id,
            self._run_tags(run),
            lambda mlflow_id: self._create_run(run, mlflow_id),
        )
        mlflow_id = self.mlflow_id(run.run_id)
        self._deliver_epochs(mlflow_id, run)
        if run.finished is not None:
            self.client.log_text(mlflow_id, layer_csv(run.finished.layers), "layers.csv")
        if not run.is_open:
            self.client.set_terminated(mlflow_id, "FINISHED" if run.finished else "FAILED")
            if run.failed is not None:
                self.client.set_tag(mlflow_id, "strsweep.failure", run.failed.reason)
            if run.unreadable:
                self.client.log_text(
                    mlflow_id, "\n".join(run.unreadable) + "\n", "unreadable_images.txt"
                )
            self._closed.add(run.run_id)

    def _deliver_epochs(self, mlflow_id: str, run: RunRecord) -> None:
        # MLflow keeps every value it is sent, so an epoch must be sent once. A batch is written
        # whole or not at all: an epoch is never split over two.
        if mlflow_id not in self._logged:
            history = self.client.get_metric_history(mlflow_id, "sparsity")
            self._logged[mlflow_id] = {metric.step for metric in history}
        logged = self._logged[mlflow_id]
        new = [run.epochs[epoch] for epoch in sorted(run.epochs) if epoch not in logged]
        size = _METRICS_PER_BATCH // len(_SHOWN)
        for start in range(0, len(new), size):
            epochs = new[start : start + size]
            metrics = [metric for event in epochs for metric in _metrics(event)]
            self.client.log_batch(mlflow_id, metrics=metrics)
            logged.update(int(event.metrics["epoch"]) for event in epochs)

    def _deliver_totals(self, record: SweepRecord) -> None:
        sweep = self.mlflow_id(None)
        totals = {
            "runs": len(record.runs),
            "epochs_trained": sum(run.num_epochs_trained for run in record.runs.values()),
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
            params=[Param(key, value) for key, value in _recipe(self._experiment).items()],
            tags=[RunTag("strsweep.targets", str(list(self._experiment.search.targets)))],
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
        aim = "" if run.proposed.target is None else f"target {run.proposed.target:g} · "
        return {
            "mlflow.runName": (
                f"{aim}{run.run_id} · decay {run.proposed.settings.weight_decay:.2e}"
            ),
            "mlflow.parentRunId": self.mlflow_id(None),
            SWEEP_TAG: self._sweep_id,
            RUN_TAG: run.run_id,
            "strsweep.reason": run.proposed.reason,
        }


def chosen(settings: RunSettings) -> dict[str, float]:
    """Return the settings that a run has: one without thresholds has no first value of them."""
    return settings.model_dump(exclude_none=True)


def _metrics(event: EpochFinished) -> list[Metric]:
    step = int(event.metrics["epoch"])
    return [Metric(key, event.metrics[key], int(event.time * 1000), step) for key in _SHOWN]


def _short(value: object) -> str:
    # MLflow takes no longer text; experiment.yaml beside it has everything.
    return f"{len(value)} layers" if isinstance(value, dict) and len(value) > 9 else str(value)


def _recipe(experiment: Experiment) -> dict[str, str]:
    """Return what cannot change in the life of a sweep: MLflow's parameters cannot either."""
    sections: dict[str, Any] = experiment.model_dump(
        mode="json", exclude={"name", "search", "storage", "tracking", "workers"}
    )
    flat = {
        f"{section}.{key}": _short(value)
        for section, values in sections.items()
        for key, value in values.items()
    }
    search = experiment.search
    return flat | {
        "search.threshold_init": str(search.threshold_init),
        "search.weight_decay": str(search.weight_decay),
        "workers.count": str(experiment.workers.count),
    }

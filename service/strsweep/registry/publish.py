"""Deliver what a sweep has: packages first, which need no server, then MLflow as far as it goes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from mlflow.entities import RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from strsweep.auto import resolve
from strsweep.config import Experiment
from strsweep.errors import SettingError
from strsweep.journal import Journal, ModelPublished, SweepRecord, replay
from strsweep.registry.delivery import Delivered, Delivery
from strsweep.registry.front import front_png
from strsweep.registry.logged_model import logged_model
from strsweep.registry.notes import delivered_note, model_card
from strsweep.registry.package import Package, Packager
from strsweep.registry.registered_model import (
    Alias,
    ensure_registered_model,
    make_version,
    move_alias,
    version_of,
)
from strsweep.registry.report import REPORT, report_files
from strsweep.registry.server import artifact_errors, first_line, page, refusals
from strsweep.registry.sweep_runs import NOTE_TAG
from strsweep.registry.tracking import Tracking
from strsweep.search.outcome import TargetOutcome, outcomes_of
from strsweep.search.runs import Run, read_state
from strsweep.storage import storage_of

_Result = TypeVar("_Result")
_Wanted = tuple[TargetOutcome | None, Package | None]
_PATIENCE_S = 30.0
"""How long a publication waits for a server that does not answer; then the rest is for later."""


def publish_sweep(experiment: Experiment, record: SweepRecord, tracking: Tracking) -> Delivery:
    """Package and register the best run of every target that was hit, as it landed.

    What was published before, wholly or in part, is found and used: publishing again, or after a
    crash at any step, doubles nothing. Two publishers at once come to the same result.

    The experiment is without ``auto``; ``tracking`` delivers the runs.

    Raises:
        StrsweepError: A package cannot be written.
    """
    finished = read_state(record, experiment).finished
    publisher = _Publisher(experiment, record, tracking)
    wanted = [
        (state, publisher.packager.package(state.run.run_id, state.target) if state.run else None)
        for state in outcomes_of(record, experiment)
    ]
    return publisher.delivered(wanted, finished)


def publish_single(experiment: Experiment, record: SweepRecord, tracking: Tracking) -> Delivery:
    """Package and register the finished run of ``jobs/train.py``; it gets no alias."""
    publisher = _Publisher(experiment, record, tracking)
    made = [publisher.packager.package(run.run_id, None) for run in record.finished_runs[:1]]
    return publisher.delivered([(None, made[0] if made else None)], [])


def publish_journal(experiment: Experiment) -> Delivery:
    """Deliver what the journal of an earlier job has and MLflow lacks; trains nothing.

    Raises:
        SettingError: There is no such sweep, or the server refuses us.
        StrsweepError: A package cannot be written.
    """
    storage = storage_of(experiment)
    record = replay(Journal(storage).read())
    if record.problem is None:
        remedy = "name the storage and the settings that the sweep was started with."
        told = f"It holds no journal of the sweep {experiment.sweep_id}: {remedy}"
        raise SettingError("storage.path", experiment.storage.path, told)
    settled = resolve(experiment, record.problem)
    with Tracking(settled) as tracking:
        pass
    publish = publish_single if settled.is_single else publish_sweep
    return publish(settled, record, tracking)


class _Publisher:
    def __init__(self, experiment: Experiment, record: SweepRecord, tracking: Tracking) -> None:
        self._experiment, self._record, self._tracking = experiment, record, tracking
        self._storage = storage_of(experiment)
        self.packager = Packager(experiment, record)
        self._patience = Retrying(
            retry=retry_if_exception_type(MlflowException),
            # A server that was away until now is not waited for again.
            stop=stop_after_delay(0 if tracking.is_behind else _PATIENCE_S),
            wait=wait_fixed(2),
            before=lambda state: tracking.doubt() if state.attempt_number > 1 else None,
            reraise=True,
        )
        self._is_behind = False

    def delivered(self, wanted: Sequence[_Wanted], finished: Sequence[Run]) -> Delivery:
        """Register what was packaged, and close the page of the sweep."""
        models = [self._delivered(outcome, made) for outcome, made in wanted]
        files = self._files(models, finished) if finished else {}
        for name, content in files.items():
            self._storage.write(name, content)
        address = self._try(lambda: self._close(models, files))
        assert self._record.problem is not None
        return Delivery(
            models=tuple(models),
            page=address,
            is_behind=self._is_behind,
            metric=self._record.problem.metric,
            dense_score=self.packager.dense_score,
        )

    def _delivered(self, outcome: TargetOutcome | None, made: Package | None) -> Delivered:
        if made is None:
            return Delivered(outcome=outcome, receipt=None, version=None)
        known = self._try(lambda: self._registered(made))
        if known is None:
            print(f"{made.folder} is not registered yet", flush=True)
        version, alias = known or (None, None)
        return Delivered(outcome=outcome, receipt=made.receipt, version=version, alias=alias)

    def _try(self, step: Callable[[], _Result]) -> _Result | None:
        """Do what needs the server, with some patience; once that is spent, nothing more."""
        if self._is_behind:
            return None
        try:
            with refusals(self._experiment):
                return self._patience(step)
        except (MlflowException, SettingError) as error:
            told = str(error) if isinstance(error, SettingError) else first_line(error)
            print(f"MLflow does not take it: {told}", flush=True)
        self._is_behind = True
        return None

    def _registered(self, made: Package) -> tuple[str, Alias | None]:
        """Register a package. A step that was done before is found, so any may be the last."""
        client, experiment, receipt = self._tracking.client, self._experiment, made.receipt
        ensure_registered_model(client, experiment)
        version = version_of(client, experiment, receipt) or self._registered_anew(made)
        target = receipt.target
        alias = None if target is None else move_alias(client, experiment, target, version)
        self._note(made, version)
        return str(version.version), alias

    def _registered_anew(self, made: Package) -> ModelVersion:
        client, experiment, receipt = self._tracking.client, self._experiment, made.receipt
        self._tracking.deliver()
        mlflow_id, place = self._tracking.mlflow_id(receipt.run_id), self._tracking.runs.place
        model_id = logged_model(client, experiment, place, made, mlflow_id)
        run = self._record.runs[receipt.run_id]
        card = model_card(receipt, run, self._record, experiment)
        return make_version(
            client, experiment, receipt, model_id=model_id, mlflow_id=mlflow_id, card=card
        )

    def _note(self, made: Package, version: ModelVersion) -> None:
        receipt, number = made.receipt, str(version.version)
        known = self._record.published.get(receipt.target)
        if known is not None and (known.run_id, known.version) == (receipt.run_id, number):
            return
        event = ModelPublished(
            target=receipt.target,
            run_id=receipt.run_id,
            folder=made.folder,
            model_uri=str(version.source),
            version=number,
        )
        # A file of its own: this may run beside the job that searches.
        Journal(self._storage, "publish").append(event)
        self._record.published[receipt.target] = event

    def _files(self, models: Sequence[Delivered], finished: Sequence[Run]) -> dict[str, bytes]:
        """Return name -> content of the files that show a sweep; a single run has none."""
        experiment, record, tracking = self._experiment, self._record, self._tracking
        receipts = [model.receipt for model in models if model.receipt is not None]
        has_pages = experiment.tracking.is_server and not tracking.is_behind
        uri = experiment.tracking.uri
        pages = (lambda run_id: page(uri, *self._path(run_id))) if has_pages else None
        files = report_files(experiment, record, receipts, pages)
        assert record.problem is not None
        targets, dense = experiment.search.targets, self.packager.dense_score
        metric = record.problem.metric
        files["front.png"] = front_png(finished, receipts, targets, metric, dense)
        return {f"report/{name}": content for name, content in files.items()}

    def _path(self, run_id: str | None) -> tuple[str, ...]:
        tracking = self._tracking
        return "experiments", tracking.runs.place, "runs", tracking.mlflow_id(run_id)

    def _close(self, models: Sequence[Delivered], files: Mapping[str, bytes]) -> str | None:
        """Put note and files on the page of the sweep, and return its address."""
        tracking, experiment = self._tracking, self._experiment
        tracking.deliver()
        mlflow_id, name = tracking.mlflow_id(None), f"report/{REPORT}"
        report = (*self._path(None), "artifacts", name) if name in files else ()
        text = delivered_note(experiment, self._record, models, report)
        tracking.client.log_batch(mlflow_id, tags=[RunTag(NOTE_TAG, text)])
        if files:
            with tempfile.TemporaryDirectory() as folder, artifact_errors():
                (Path(folder) / "report").mkdir()
                for name, content in files.items():
                    (Path(folder) / name).write_bytes(content)
                tracking.client.log_artifacts(mlflow_id, folder)
        tracking.close_sweep(self._record)
        address = page(experiment.tracking.uri, "experiments", tracking.runs.place, "runs")
        return address if experiment.tracking.is_server else None

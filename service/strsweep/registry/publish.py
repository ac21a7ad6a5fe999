"""Deliver what a sweep has: packages first, which need no server, then MLflow as far as it goes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from strsweep.auto import resolve
from strsweep.config import Experiment
from strsweep.errors import SettingError
from strsweep.journal import Journal, ModelPublished, SweepRecord, replay
from strsweep.registry.card import model_card
from strsweep.registry.delivery import Delivered, Delivery
from strsweep.registry.logged_model import logged_model
from strsweep.registry.mlflow_pages import runs_page
from strsweep.registry.package import Package, Purpose, package
from strsweep.registry.registered_model import (
    Alias,
    ensure_registered_model,
    make_version,
    move_alias,
    version_of,
)
from strsweep.registry.server import first_line, refusals
from strsweep.registry.summary import delivered_note, show_summary, summary_files
from strsweep.registry.tracking import Tracking
from strsweep.search.outcome import TargetOutcome, dense_score, outcomes_of
from strsweep.search.runs import Run, read_state
from strsweep.settings import Target
from strsweep.storage import storage_of
from strsweep.tasks import task_of

_Result = TypeVar("_Result")
_PATIENCE_S = 30.0
"""How long a publication waits for a server that does not answer; then the rest is for later."""
_WRITER = "publish"


def publish_sweep(experiment: Experiment, record: SweepRecord, tracking: Tracking) -> Delivery:
    """Package and register the best run of every target that was hit, as it landed.

    What was published before, wholly or in part, is found and used: publishing again, or after a
    crash at any step, doubles nothing. Two publishers at once come to the same result.

    Args:
        experiment: Without ``auto``.
        record: Of its journal.
        tracking: Delivers the runs.

    Raises:
        StrsweepError: A package cannot be written.
    """
    finished = read_state(record, experiment).finished
    publisher = _Publisher(experiment, record, tracking)
    wanted = [
        (state, publisher.packaged(state.run.run_id, state.target) if state.run else None)
        for state in outcomes_of(record, experiment)
    ]
    return publisher.delivered(wanted, finished)


def publish_single(experiment: Experiment, record: SweepRecord, tracking: Tracking) -> Delivery:
    """Package and register the finished run of ``jobs/train.py``; it gets no alias."""
    publisher = _Publisher(experiment, record, tracking)
    made = [publisher.packaged(run.run_id, None) for run in record.finished_runs[:1]]
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
        raise SettingError(
            "storage.path",
            experiment.storage.path,
            f"It holds no journal of the sweep {experiment.sweep_id}: name the storage and the "
            "settings that the sweep was started with.",
        )
    settled = resolve(experiment, record.problem)
    with Tracking(settled) as tracking:
        pass
    publish = publish_single if settled.is_single else publish_sweep
    return publish(settled, record, tracking)


class _Publisher:
    def __init__(self, experiment: Experiment, record: SweepRecord, tracking: Tracking) -> None:
        self._experiment = experiment
        self._record = record
        self._tracking = tracking
        self._storage = storage_of(experiment)
        self._task = functools.cache(lambda: task_of(experiment))
        self._patience = Retrying(
            retry=retry_if_exception_type(MlflowException),
            # A server that was away until now is not waited for again.
            stop=stop_after_delay(0 if tracking.is_behind else _PATIENCE_S),
            wait=wait_fixed(2),
            before=lambda state: tracking.doubt() if state.attempt_number > 1 else None,
            reraise=True,
        )
        self._is_behind = False
        assert record.problem is not None
        self._problem = record.problem
        self._dense_score = dense_score(read_state(record, experiment))

    def packaged(self, run_id: str, target: Target | None) -> Package:
        """Write the files of a run."""
        purpose = Purpose(
            target=target,
            metric=self._problem.metric,
            model_options=self._problem.model_options,
            landed=None if target is None else self._record.landed.get((target, run_id)),
            dense_score=self._dense_score,
        )
        run = self._record.runs[run_id]
        return package(self._experiment, self._storage, self._task, run, purpose)

    def delivered(
        self,
        wanted: Sequence[tuple[TargetOutcome | None, Package | None]],
        finished: Sequence[Run],
    ) -> Delivery:
        """Register what was packaged, and close the page of the sweep."""
        models = [self._delivered(outcome, made) for outcome, made in wanted]
        receipts = [model.receipt for model in models if model.receipt is not None]
        files = summary_files(self._experiment, self._record, receipts, finished, self._tracking)
        for name, content in files.items():
            self._storage.write(name, content)
        page = self._try(lambda: self._close(models, files))
        return Delivery(
            models=tuple(models),
            is_behind=self._is_behind,
            metric=self._problem.metric,
            dense_score=self._dense_score,
            page=page,
        )

    def _delivered(self, outcome: TargetOutcome | None, made: Package | None) -> Delivered:
        if made is None:
            return Delivered(outcome=outcome, receipt=None, version=None)
        known = self._try(lambda: self._registered(made))
        if known is None:
            print(f"{made.folder} is not registered yet", flush=True)
            return Delivered(outcome=outcome, receipt=made.receipt, version=None)
        version, alias = known
        return Delivered(outcome=outcome, receipt=made.receipt, version=version, alias=alias)

    def _try(self, step: Callable[[], _Result]) -> _Result | None:
        """Do what needs the server, with some patience; once that is spent, nothing more."""
        if self._is_behind:
            return None
        try:
            with refusals(self._experiment):
                return self._patience(step)
        except MlflowException as error:
            print(f"MLflow does not take it: {first_line(error)}", flush=True)
        except SettingError as error:
            print(f"MLflow does not take it: {error}", flush=True)
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
        Journal(self._storage, _WRITER).append(event)
        self._record.published[receipt.target] = event

    def _close(self, models: Sequence[Delivered], files: Mapping[str, bytes]) -> str | None:
        tracking, experiment = self._tracking, self._experiment
        tracking.deliver()
        text = delivered_note(experiment, self._record, models, tracking, files)
        show_summary(tracking.client, tracking.mlflow_id(None), text, files)
        tracking.close_sweep(self._record)
        uri = experiment.tracking.uri
        return runs_page(uri, tracking.runs.place) if experiment.tracking.is_server else None

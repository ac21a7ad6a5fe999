"""Deliver what a sweep has: packages first, which need no server, then MLflow as far as it goes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from mlflow.entities import RunTag
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from strsweep.config import Experiment
from strsweep.errors import SettingError, StorageError, StrsweepError
from strsweep.journal import Journal, ModelPublished, SweepRecord, replay
from strsweep.packages.package import Package, Packager
from strsweep.progress import say
from strsweep.registry.delivery import Delivered, Delivery
from strsweep.registry.front import show_front
from strsweep.registry.logged_model import FORM_TAG, logged_model
from strsweep.registry.notes import delivered_note, model_card
from strsweep.registry.registered_model import (
    Alias,
    ensure_registered_model,
    make_version,
    move_alias,
    version_of,
)
from strsweep.registry.server import (
    NOTE_TAG,
    artifact_errors,
    first_line,
    may_pass,
    page,
    refusals,
    runs_page,
)
from strsweep.registry.tracking import Tracking
from strsweep.report import REPORT_FILE, store_report
from strsweep.search.outcome import TargetOutcome, outcomes_of
from strsweep.search.runs import read_state
from strsweep.settings import Target
from strsweep.status import StartedSweep, recorded
from strsweep.storage import storage_of

_Result = TypeVar("_Result")
_PATIENCE_S = 30.0
"""How long a publication waits for a server that does not answer; then the rest is for later."""


def publish_sweep(experiment: Experiment, tracking: Tracking) -> Delivery:
    """Package and register the best run of every target that was hit, as it landed.

    Of ``strsweep train`` it is the run that finished, which gets no alias. What was published
    before, wholly or in part, is found and used: publishing again, or after a crash at any step,
    doubles nothing. Two publishers at once come to the same result.

    The experiment is without ``auto``; ``tracking`` delivers the runs.

    Raises:
        SettingError: The data is not there.
        StorageError: The storage refuses, or stayed away too long.
    """
    record = replay(Journal(storage_of(experiment)).read())
    publisher = Publisher(experiment, record, tracking)
    if experiment.is_single:
        made = [publisher.packaged(run.run_id, None) for run in record.finished_runs[:1]] or [None]
        return publisher.delivery([publisher.registered(None, made[0])], has_report=False)
    wanted = [
        (state, publisher.packaged(state.run.run_id, state.target) if state.run else None)
        for state in outcomes_of(record, experiment)
    ]
    models = [publisher.registered(state, made) for state, made in wanted]
    return publisher.delivery(models, has_report=bool(read_state(record, experiment).finished))


def publish_journal(experiment: Experiment) -> Delivery:
    """Deliver what the journal of an earlier job has and MLflow lacks; trains nothing.

    Raises:
        SettingError: There is no such sweep, or the server refuses us.
        StrsweepError: The journal cannot be read, or a package not be written.
    """
    settled = recorded(None, experiment).experiment
    with Tracking(settled) as tracking:
        pass
    return publish_sweep(settled, tracking)


class Publisher:
    """Packages and registers the models of a sweep, as ``record`` has it.

    It waits ``patience_s`` seconds for a server that does not answer, and gives to ``tell`` what a
    person should know.
    """

    def __init__(
        self,
        experiment: Experiment,
        record: SweepRecord,
        tracking: Tracking,
        patience_s: float | None = None,
        tell: Callable[[str], None] = say,
    ) -> None:
        self._experiment, self._record, self._tracking = experiment, record, tracking
        self._storage, self._tell = storage_of(experiment), tell
        self._packager = Packager(experiment, record)
        patience_s = _PATIENCE_S if patience_s is None else patience_s
        self._patience = Retrying(
            retry=retry_if_exception(may_pass),
            # A server that was away until now is not waited for again.
            stop=stop_after_delay(0 if tracking.is_behind else patience_s),
            wait=wait_fixed(2),
            before=lambda state: tracking.doubt() if state.attempt_number > 1 else None,
            reraise=True,
        )
        self._is_behind = self._is_away = False

    def packaged(self, run_id: str, target: Target | None) -> Package | str:
        """Return the package of a run, or why there is none: others do not depend on it."""
        try:
            return self._packager.package(run_id, target)
        except (SettingError, StorageError):
            raise  # others would meet it, too
        except StrsweepError as error:
            return str(error)
        except Exception as error:  # a network of the user's own can raise anything
            return f"{type(error).__name__}: {error}"

    def registered(self, outcome: TargetOutcome | None, made: Package | str | None) -> Delivered:
        """Register what ``packaged`` gave; None if no run can be delivered for ``outcome``."""
        if not isinstance(made, Package):
            return Delivered(outcome=outcome, receipt=None, version=None, failure=made)
        known = self._try(lambda: self._registered(made))
        if known is None:
            self._tell(f"{made.folder} is not registered yet")
        version, alias = known or (None, None)
        return Delivered(outcome=outcome, receipt=made.receipt, version=version, alias=alias)

    def delivery(self, models: Sequence[Delivered], *, has_report: bool) -> Delivery:
        """Close the page of the sweep, once all its models are registered as far as possible."""
        address = self.show(models, has_report=has_report, is_over=True)
        assert self._record.problem is not None
        return Delivery(
            models=tuple(models),
            page=address,
            is_behind=self._is_behind,
            metric=self._record.problem.metric,
            dense_score=self._packager.dense_score,
        )

    def show(
        self, models: Sequence[Delivered], *, has_report: bool, is_over: bool = False
    ) -> str | None:
        """Put note and report on the page of the sweep; returns the address of all sweeps."""
        files = self._report() if has_report else {}
        return self._try(lambda: self._show(models, files, is_over=is_over))

    def _try(self, step: Callable[[], _Result]) -> _Result | None:
        """Do what needs the server, with some patience; once it is away, nothing more."""
        if self._is_away:
            return None
        try:
            with refusals(self._experiment):
                return self._patience(step)
        except (MlflowException, SettingError) as error:
            told = str(error) if isinstance(error, SettingError) else first_line(error)
            self._tell(f"MLflow does not take it: {told}")
        self._is_behind, self._is_away = True, self._tracking.try_deliver() is None
        return None

    def _registered(self, made: Package) -> tuple[str, Alias | None]:
        """Register a package. A step that was done before is found, so any may be the last."""
        client, experiment, receipt = self._tracking.client, self._experiment, made.receipt
        ensure_registered_model(client, experiment)
        version = version_of(client, experiment, receipt) or self._registered_anew(made)
        alias = move_alias(client, experiment, receipt, version)
        self._note(made, version)
        return str(version.version), alias

    def _registered_anew(self, made: Package) -> ModelVersion:
        client, experiment, receipt = self._tracking.client, self._experiment, made.receipt
        self._tracking.deliver()
        mlflow_id, place = self._tracking.mlflow_id(receipt.run_id), self._tracking.runs.place
        model = logged_model(client, experiment, place, made, mlflow_id)
        run = self._record.runs[receipt.run_id]
        form = model.tags.get(FORM_TAG, "program")
        card = model_card(receipt, run, self._record, experiment, form)
        return make_version(
            client, experiment, receipt, model_id=model.model_id, mlflow_id=mlflow_id, card=card
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

    def _report(self) -> dict[str, bytes]:
        """Write the files that show a sweep, with links, and return them by name."""
        experiment, tracking = self._experiment, self._tracking
        has_pages = experiment.tracking.is_server and not tracking.is_behind
        # Another publisher may have been first with a run: its page is looked up again.
        has_pages = has_pages and tracking.try_deliver() is not None
        uri = experiment.tracking.uri
        pages = (lambda run_id: page(uri, *self._path(run_id))) if has_pages else None
        return store_report(StartedSweep(experiment, self._record, self._storage), pages)

    def _path(self, run_id: str | None) -> tuple[str, ...]:
        tracking = self._tracking
        return "experiments", tracking.runs.place, "runs", tracking.mlflow_id(run_id)

    def _show(
        self, models: Sequence[Delivered], files: Mapping[str, bytes], *, is_over: bool
    ) -> str | None:
        tracking, experiment = self._tracking, self._experiment
        tracking.deliver()
        mlflow_id = tracking.mlflow_id(None)
        report = (*self._path(None), "artifacts", REPORT_FILE) if files else ()
        text = delivered_note(experiment, self._record, models, report, is_over=is_over)
        tracking.client.log_batch(mlflow_id, tags=[RunTag(NOTE_TAG, text)])
        if files:
            with tempfile.TemporaryDirectory() as folder, artifact_errors():
                (Path(folder) / "report").mkdir()
                for name, content in files.items():
                    (Path(folder) / name).write_bytes(content)
                tracking.client.log_artifacts(mlflow_id, folder)
        receipts = [model.receipt for model in models if model.receipt and model.version]
        last = max((event.time for event in self._record.published.values()), default=0.0)
        with artifact_errors():
            show_front(tracking.client, mlflow_id, receipts, last)
        if is_over:
            tracking.close_sweep(self._record)
        address = runs_page(experiment.tracking.uri, tracking.runs.place)
        return address if experiment.tracking.is_server else None

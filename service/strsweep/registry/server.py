"""The connection to MLflow: client, experiment, pages, and the errors that a person must mend."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import mlflow
import tenacity
from mlflow import MlflowClient
from mlflow.entities import Experiment as MlflowExperiment
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList
from mlflow.utils import get_results_from_paginated_fn

from strsweep.config import Experiment
from strsweep.errors import SettingError, StrsweepError
from strsweep.models.registered import ask_briefly
from strsweep.storage import is_object_store

_Found = TypeVar("_Found")
EXISTS, MISSING = "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"
NOTE_TAG = "mlflow.note.content"
"""What MLflow shows as the description of an experiment or a run."""
_ABOUT = """Sparse models by **strsweep**: targets are requested, and a sweep trains one model each.

Every row at the top is a sweep; unfold it to see its runs. A run is named by what it became: \
`run-004 · 95 % · 98.9 %` was delivered for 95 % sparsity and scores 98.9 %. The page of a sweep \
has what it delivered and its report; the models are under *Models*, each target with an alias.
"""
_NOT_STORED = "BAD_REQUEST"
"""What MLflow says of every row that its database does not take: another writer may have been first
with it."""
MAX_COLLISIONS = 4
"""Of one call with those of other writers; each time it looks what they wrote."""
_REFUSED = {"UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED"}
_VIEW = "strsweep"
"""Key under which MLflow keeps the columns of the table of runs, for a link to name."""
_UNKNOWN = {"ENDPOINT_NOT_FOUND", "NOT_FOUND"}
_LASTING = {*_REFUSED, *_UNKNOWN, "INVALID_PARAMETER_VALUE", "FEATURE_DISABLED"}
"""What is refused for good, and not only now: the same call gets the same answer."""
_STATUS = re.compile(r"failed with error code (\d+) != 200")
"""What MLflow says of an answer that is none of its own, such as that of a proxy."""
_PAGE = 500
_PASSING = {408, 425, 429}
_NEVER = {501, 505}


def connect(experiment: Experiment) -> MlflowClient:
    """Return a client; asks the server nothing yet, so it works while the server is away."""
    uri, storage = experiment.tracking.uri, experiment.storage
    ask_briefly()
    shown = {  # as for our own objects: MLflow may write artifacts itself, with a server, too
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }
    if not experiment.tracking.is_server:  # MLflow looks for the object store by itself
        shown |= {
            "MLFLOW_S3_ENDPOINT_URL": storage.endpoint,
            "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": "path" if storage.path_style else None,
            "AWS_DEFAULT_REGION": storage.region,
        }
    os.environ.update({name: value for name, value in shown.items() if value is not None})
    mlflow.set_tracking_uri(uri)  # a client's own are not what MLflow looks models up with
    mlflow.set_registry_uri(uri)
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def page(base: str, *path: str) -> str:
    """Return an address in MLflow's web pages; it opens those for language models unless told.

    Args:
        base: Address of the server; empty for the one that shows the link.
        path: Its parts, e.g. ``experiments``, id, ``runs``, id, ``artifacts``, path of a file.
    """
    return f"{base.rstrip('/')}/#/{'/'.join(map(quote, path))}?workflowType=machine_learning"


def runs_page(base: str, place: str) -> str:
    """Return the address of the runs of an MLflow experiment, in the columns that tell of them."""
    return f"{page(base, 'experiments', place, 'runs')}&viewStateShareKey={_VIEW}"


def show_columns(client: MlflowClient, place: str, metric: str) -> None:
    """Choose what ``runs_page`` shows of runs that are judged by ``metric``."""
    metrics = [f"metrics.`{name}`" for name in ("sparsity", metric, "macs")]
    widths = {"attributes.`Run Name`": 300, "tags.`target`": 100, "tags.`state`": 220}
    columns = ["tags.`target`", "tags.`state`", *metrics]
    view = {
        "selectedColumns": columns,
        "columnOrder": ["attributes.`Run Name`", "runDateAndNestInfo", *columns],
        "columnWidths": widths | dict.fromkeys(metrics, 100),
    }
    _tag(client, place, f"mlflow.sharedViewState.{_VIEW}", json.dumps(view))


def experiment_id(client: MlflowClient, experiment: Experiment) -> str:
    """Return the MLflow experiment, which is made if need be.

    Raises:
        SettingError: It was deleted in MLflow, or the server refuses us.
        MlflowException: The server does not answer.
    """
    return _opened(client, experiment).experiment_id


def _opened(client: MlflowClient, experiment: Experiment) -> MlflowExperiment:
    name = experiment.tracking_experiment
    with refusals(experiment):
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                client.create_experiment(name, _artifact_location(experiment))
            except MlflowException as error:
                if error.error_code != EXISTS:
                    raise  # else another job made it just now
            found = client.get_experiment_by_name(name)
            assert found is not None
    if found.lifecycle_stage == "deleted":
        remedy = "It was deleted in MLflow: restore it there, or choose another name."
        raise SettingError("tracking.experiment", name, remedy)
    return found


def check_server(client: MlflowClient, experiment: Experiment, *, has_model: bool) -> str:
    """Ask the server for what the end of a sweep needs; returns MLflow's id of the experiment.

    The page of the experiment gets its kind, and its description unless somebody wrote one.

    Args:
        client: Of the server.
        experiment: Names the MLflow experiment, which is made if need be, and the registered model.
        has_model: True if there is a registered model of that name.

    Raises:
        SettingError: It refuses something for good.
        MlflowException: The server does not answer.
    """
    found = _opened(client, experiment)
    place = found.experiment_id
    with refusals(experiment):
        _tag(client, place, "mlflow.experimentKind", "custom_model_development")
        if NOTE_TAG not in found.tags:
            _tag(client, place, NOTE_TAG, _ABOUT)
        client.search_logged_models([place], max_results=1)
        if has_model:
            client.set_registered_model_tag(
                experiment.model_name, "strsweep.sweep", experiment.name
            )
    return place


def _artifact_location(experiment: Experiment) -> str | None:
    # A server decides itself; without one, artifacts lie beside the sweeps.
    place = f"{experiment.storage.path}/artifacts/{experiment.tracking_experiment}"
    if experiment.tracking.is_server:
        return None
    return place if is_object_store(place) else Path(place).as_uri()


@contextmanager
def refusals(experiment: Experiment) -> Generator[None]:
    """Turn what the server refuses for good into an error with a remedy."""
    try:
        yield
    except MlflowException as error:
        if may_pass(error):
            raise
        told = f"The MLflow server refuses ({error.get_http_status_code()}): {first_line(error)}"
        if error.error_code in _UNKNOWN:
            remedy = "it must be MLflow 3, and what stands before it must let all of /api pass"
            told = f"The MLflow server does not know a call: {remedy}. {first_line(error)}"
        if error.error_code in _REFUSED:
            user = os.environ.get("MLFLOW_TRACKING_USERNAME")
            who = f"the user {user}" if user else "a job without a user"
            told = (
                f"The MLflow server refuses {who}: set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD in the environment of the job to a user who may write "
                "there."
            )
        raise SettingError("tracking.uri", experiment.tracking.uri, told) from None


def may_pass(error: BaseException) -> bool:
    """Return whether MLflow may take later what it does not take now."""
    if not isinstance(error, MlflowException) or error.error_code in _LASTING:
        return False
    status = int(found[1]) if (found := _STATUS.search(str(error))) else 500
    return status in _PASSING or (status >= 500 and status not in _NEVER)


def _is_collision(error: BaseException) -> bool:
    return isinstance(error, MlflowException) and error.error_code == _NOT_STORED


again_after_collisions = tenacity.retry(
    retry=tenacity.retry_if_exception(_is_collision),
    stop=tenacity.stop_after_attempt(MAX_COLLISIONS),
    wait=tenacity.wait_random(0.1, 1),
    reraise=True,
)
"""Calls what it decorates again, which then finds what the other writer wrote."""


@again_after_collisions
def _tag(client: MlflowClient, place: str, key: str, text: str) -> None:
    """Set a tag of an MLflow experiment; another job may set the same one at the same moment."""
    client.set_experiment_tag(place, key, text)


def every(search: Callable[[int, str | None], PagedList[_Found]]) -> list[_Found]:
    """Return all that ``search`` finds; it takes the size of a page and the token of the page."""
    return get_results_from_paginated_fn(search, _PAGE)


@contextmanager
def artifact_errors() -> Generator[None]:
    """Turn what a store of artifacts raises into MLflow's error: each kind of store has its own."""
    try:
        yield
    except (MlflowException, StrsweepError):
        raise
    except Exception as error:
        raise MlflowException(f"an artifact cannot be stored: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Return what an error says, short enough for a status line."""
    return f"{(str(error).splitlines() or [type(error).__name__])[0]:.200}"

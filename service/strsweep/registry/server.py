"""The connection to MLflow: client, experiment, pages, and the errors that a person must mend."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from strsweep.config import Experiment
from strsweep.errors import SettingError
from strsweep.storage import is_object_store

EXISTS, MISSING = "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"
_NOT_STORED = "BAD_REQUEST"
"""What MLflow says of every row that its database does not take."""
_REFUSED = {"UNAUTHENTICATED", "PERMISSION_DENIED"}


def connect(experiment: Experiment) -> MlflowClient:
    """Return a client; asks the server nothing yet, so it works while the server is away."""
    uri, storage = experiment.tracking.uri, experiment.storage
    ask_briefly()
    if not experiment.tracking.is_server:  # MLflow looks for the object store by itself
        shown = {
            "MLFLOW_S3_ENDPOINT_URL": storage.endpoint,
            "MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE": "path" if storage.path_style else None,
            "AWS_DEFAULT_REGION": storage.region,
        }
        os.environ.update({name: value for name, value in shown.items() if value is not None})
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def ask_briefly() -> None:
    """Let no call to MLflow take minutes, and MLflow print nothing of its own.

    What could not be delivered is in the journal.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name in ("mlflow", "alembic"):  # their notes would bury the status lines
        logging.getLogger(name).setLevel(logging.ERROR)


def page(base: str, *path: str) -> str:
    """Return an address in MLflow's web pages; it opens those for language models unless told.

    Args:
        base: Address of the server; empty for the one that shows the link.
        path: Its parts, e.g. ``experiments``, id, ``runs``, id, ``artifacts``, path of a file.
    """
    return f"{base.rstrip('/')}/#/{'/'.join(map(quote, path))}?workflowType=machine_learning"


def experiment_id(client: MlflowClient, experiment: Experiment) -> str:
    """Return the MLflow experiment, which is made if need be.

    Raises:
        SettingError: It was deleted in MLflow, or the server refuses us.
        MlflowException: The server does not answer.
    """
    name = experiment.tracking_experiment
    with refusals(experiment):
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return client.create_experiment(name, _artifact_location(experiment))
            except MlflowException as error:
                if error.error_code != EXISTS:
                    raise
                found = client.get_experiment_by_name(name)  # another job made it just now
                assert found is not None
    if found.lifecycle_stage == "deleted":
        remedy = "It was deleted in MLflow: restore it there, or choose another name."
        raise SettingError("tracking.experiment", name, remedy)
    return found.experiment_id


def _artifact_location(experiment: Experiment) -> str | None:
    # A server decides itself; without one, artifacts lie beside the sweeps.
    place = f"{experiment.storage.path}/artifacts/{experiment.tracking_experiment}"
    if experiment.tracking.is_server:
        return None
    return place if is_object_store(place) else Path(place).as_uri()


@contextmanager
def refusals(experiment: Experiment) -> Generator[None]:
    """Turn "who are you?" and "you may not" of the server into an error with a remedy."""
    try:
        yield
    except MlflowException as error:
        if error.error_code not in _REFUSED:
            raise
        user = os.environ.get("MLFLOW_TRACKING_USERNAME")
        told = (
            f"The MLflow server refuses {f'the user {user}' if user else 'a job without a user'}: "
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment of the "
            "job to a user who may write there."
        )
        raise SettingError("tracking.uri", experiment.tracking.uri, told) from None


def is_collision(error: BaseException) -> bool:
    """Return whether the database refused a row: another writer may have been first with it."""
    return isinstance(error, MlflowException) and error.error_code == _NOT_STORED


@contextmanager
def artifact_errors() -> Generator[None]:
    """Turn what a store of artifacts raises into MLflow's error: each kind of store has its own."""
    try:
        yield
    except MlflowException:
        raise
    except Exception as error:
        raise MlflowException(f"an artifact cannot be stored: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Return what an error says, short enough for a status line."""
    return f"{(str(error).splitlines() or [type(error).__name__])[0]:.200}"

"""The connection to MLflow: client, experiment and the errors that mean "try later"."""

from __future__ import annotations

import logging
import os
from urllib.parse import urlparse

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from strsweep.config import Experiment
from strsweep.errors import SettingError

_ALREADY_EXISTS = ErrorCode.Name(RESOURCE_ALREADY_EXISTS)


def connect(experiment: Experiment) -> MlflowClient:
    """Return a client; asks the server nothing yet, so it works while the server is away."""
    # MLflow would hold a call for minutes; the journal keeps what could not be delivered.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for name in ("mlflow", "alembic"):  # their notes would bury the status lines
        logging.getLogger(name).setLevel(logging.ERROR)
    uri = experiment.tracking.uri
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def experiment_id(client: MlflowClient, experiment: Experiment) -> str:
    """Return the MLflow experiment, which is made if need be.

    Raises:
        SettingError: It was deleted in MLflow.
        MlflowException: The server does not answer.
    """
    name = experiment.tracking_experiment
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return client.create_experiment(name, artifact_location=_artifact_location(experiment))
        except MlflowException as error:
            if error.error_code != _ALREADY_EXISTS:
                raise
            found = client.get_experiment_by_name(name)  # another job made it just now
            assert found is not None
    if found.lifecycle_stage == "deleted":
        raise SettingError(
            "tracking.experiment",
            name,
            "It was deleted in MLflow: restore it there, or choose another name.",
        )
    return found.experiment_id


def _artifact_location(experiment: Experiment) -> str | None:
    # A server decides itself; without one, artifacts lie beside the sweeps.
    if urlparse(experiment.tracking.uri).scheme in {"http", "https"}:
        return None
    return (experiment.storage.path / "artifacts" / experiment.tracking_experiment).as_uri()

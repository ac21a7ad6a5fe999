"""A model registered in MLflow, ``models:/NAME@ALIAS``, as files; runs can start from one."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from strsweep.config import Experiment, TrackingConfig
from strsweep.errors import SettingError

_SCHEME = "models:/"


def start_file(experiment: Experiment) -> Path | None:
    """Return the file that ``model.checkpoint`` names; a registered model is downloaded once.

    Raises:
        SettingError: MLflow has no such model, or it holds no weights as safetensors.
    """
    start = experiment.model.checkpoint
    if start is None or not str(start).startswith(_SCHEME):
        return start
    return _weights(str(start), experiment.tracking.uri)


def pinned(experiment: Experiment) -> Experiment:
    """Return the experiment with a version in place of an alias, which may move.

    Raises:
        SettingError: MLflow has no such model.
    """
    reference = str(experiment.model.checkpoint)
    name, separator, alias = reference.removeprefix(_SCHEME).partition("@")
    if not reference.startswith(_SCHEME) or not separator:
        return experiment
    from mlflow import MlflowClient

    uri = experiment.tracking.uri
    with _asking(uri, "model.checkpoint", reference):
        found = MlflowClient(uri, uri).get_model_version_by_alias(name, alias)
    start = Path(f"{_SCHEME}{name}/{found.version}")
    model = experiment.model.model_copy(update={"checkpoint": start})
    return experiment.model_copy(update={"model": model})


def downloaded(reference: str, uri: str, folder: str, setting: str) -> Path:
    """Return the files of a registered model, downloaded into ``folder``.

    Args:
        reference: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.
        uri: MLflow server.
        folder: Of this machine.
        setting: What the user named the model with.

    Raises:
        SettingError: There is no such model or server.
    """
    import mlflow
    from mlflow.artifacts import download_artifacts

    with _asking(uri, setting, reference):
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        return Path(download_artifacts(artifact_uri=reference, dst_path=folder))


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


@lru_cache
def _weights(reference: str, uri: str) -> Path:
    folder = tempfile.mkdtemp(prefix="strsweep-start-")
    files = downloaded(reference, uri, folder, "model.checkpoint")
    found = sorted(files.rglob("*.safetensors"))
    if len(found) != 1:
        told = f"It holds {len(found)} files of safetensors: log the state dict as one of them."
        raise SettingError("model.checkpoint", reference, told)
    return found[0]


@contextmanager
def _asking(uri: str, setting: str, reference: str) -> Generator[None]:
    """Raise a ``SettingError`` where there is no MLflow at ``uri``, or it refuses what is asked."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    database = TrackingConfig(uri=uri).database
    if database is not None and not database.is_file():  # MLflow would make one
        remedy = f"There is no {uri}: name your MLflow server, as with --tracking-uri."
        raise SettingError(setting, reference, remedy)
    ask_briefly()
    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        raise SettingError(
            setting, reference, f"{uri} says: {str(error).splitlines()[0]}"
        ) from error

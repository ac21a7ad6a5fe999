"""Find a finished model by its name: a version in MLflow, or a package folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from strsweep.config import Experiment, TrackingConfig
from strsweep.errors import CheckpointError, SettingError
from strsweep.models import build
from strsweep.registry.receipt import EXPERIMENT, PACKAGE_FILES, WEIGHTS, read_receipt
from strsweep.registry.server import ask_briefly


@dataclass(frozen=True, kw_only=True)
class FinishedModel:
    """The files of one model, on this machine."""

    files: Path
    """The package: weights, budget, experiment and receipt."""
    mlflow_folder: Path | None
    """What MLflow loads as a program; None for a package folder."""

    def experiment(self, data_path: Path | None = None) -> Experiment:
        """Return how the model was trained, with its images at ``data_path`` if they moved."""
        text = (self.files / EXPERIMENT).read_text(encoding="utf-8")
        try:
            experiment = Experiment.model_validate_json(text)
        except ValidationError as error:
            raise CheckpointError(f"{self.files / EXPERIMENT} is damaged: {error}") from error
        if data_path is None:
            return experiment
        data = experiment.data.model_copy(update={"path": data_path.absolute()})
        return experiment.model_copy(update={"data": data})


@contextmanager
def finished_model(
    reference: str, tracking_uri: str, *, option: str = "--model"
) -> Generator[FinishedModel]:
    """Find ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or a package folder.

    What is downloaded is removed at the end of the ``with`` block.

    Args:
        reference: Which model.
        tracking_uri: MLflow server of a registered model.
        option: What the user named it with.

    Raises:
        SettingError: There is no such model.
    """
    if not reference.startswith("models:/"):
        files = Path(reference)
        _check_package(files, reference, option)
        yield FinishedModel(files=files, mlflow_folder=None)
        return
    with tempfile.TemporaryDirectory() as folder:
        downloaded = _downloaded(reference, tracking_uri, folder, option)
        files = downloaded / "extra_files"
        _check_package(files, reference, option)
        yield FinishedModel(files=files, mlflow_folder=downloaded)


def our_network(files: Path, experiment: Experiment) -> nn.Module:
    """Build the network of ``experiment`` and load the weights file of the package into it.

    Returns:
        A plain model in evaluation mode, on the CPU.

    Raises:
        CheckpointError: The weights cannot be read or belong to another network.
        SettingError: The network cannot be built here.
    """
    try:
        options = read_receipt(files).model_options
        return plain_network(experiment, load_file(files / WEIGHTS), options)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the weights {files / WEIGHTS} cannot be read: {error}") from error
    except RuntimeError as error:
        raise CheckpointError(f"{files / WEIGHTS} belongs to another network: {error}") from error


def plain_network(
    experiment: Experiment, weights: dict[str, Tensor], options: dict[str, Any]
) -> nn.Module:
    """Build the network of ``experiment`` with these weights, in evaluation mode, on the CPU.

    Raises:
        RuntimeError: They belong to another network.
        SettingError: The network cannot be built here.
    """
    network = build(experiment.model.name, **options, **experiment.model.options)
    network.load_state_dict(weights)
    return network.eval()


def _check_package(files: Path, reference: str, option: str) -> None:
    missing = [name for name in PACKAGE_FILES if not (files / name).is_file()]
    if missing:
        raise SettingError(
            option,
            reference,
            f"It holds no {', '.join(missing)}. Name models:/NAME@ALIAS of a model that strsweep "
            "registered, or the folder of one.",
        )


def _downloaded(reference: str, tracking_uri: str, folder: str, option: str) -> Path:
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    database = TrackingConfig(uri=tracking_uri).database
    if database is not None and not database.is_file():  # MLflow would make one
        remedy = f"There is no {tracking_uri}: name your MLflow server, as with --tracking-uri."
        raise SettingError(option, reference, remedy)
    ask_briefly()
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(tracking_uri)
    try:
        return Path(download_artifacts(artifact_uri=reference, dst_path=folder))
    except MlflowException as error:
        said = f"{tracking_uri} says: {str(error).splitlines()[0]}"
        raise SettingError(option, reference, said) from error

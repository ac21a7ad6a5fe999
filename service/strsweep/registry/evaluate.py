"""Evaluate a registered or saved model on its data."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import torch
from mlflow import pytorch as mlflow_pytorch
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from safetensors.torch import load_file
from torch import nn

from strsweep.config import DataConfig, Experiment
from strsweep.data import ValidationBatches, load_images, validation_loader
from strsweep.errors import SettingError
from strsweep.models import build
from strsweep.registry.package import (
    BUDGET_JSON,
    EXPERIMENT,
    RECEIPT,
    WEIGHTS,
    Receipt,
    read_receipt,
)
from strsweep.training.loop import Evaluation, Stepper


@dataclass(frozen=True, kw_only=True)
class EvaluatedModel:
    """What the model gives today, beside what its receipt says."""

    evaluation: Evaluation
    zeros: int
    """Counted in the weights that were evaluated."""
    receipt: Receipt


def evaluate_model(
    reference: str, tracking_uri: str, data_path: Path | None = None
) -> EvaluatedModel:
    """Evaluate ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or a package folder.

    A registered model is run as the program that is registered, a folder as our network with the
    weights of the file. Neither unpickles anything.

    Args:
        reference: Which model.
        tracking_uri: MLflow server of a registered model.
        data_path: Folder of the images, if it is not where it was in training.

    Raises:
        SettingError: There is no such model, or no such data.
    """
    if reference.startswith("models:/"):
        with tempfile.TemporaryDirectory() as folder:
            model, files = _registered(reference, tracking_uri, folder)
            return _evaluate(model, files, data_path)
    files = Path(reference)
    if not (files / RECEIPT).is_file():
        raise SettingError(
            "--model", reference, f"Name models:/NAME@ALIAS, or a folder that holds {RECEIPT}."
        )
    return _evaluate(_saved(files), files, data_path)


def _evaluate(model: nn.Module, files: Path, data_path: Path | None) -> EvaluatedModel:
    experiment = _experiment(files)
    data = experiment.data if data_path is None else _moved(experiment.data, data_path)
    images = load_images(data)
    batches = ValidationBatches(
        num_images=images.num_val, batch_size=experiment.training.batch_size
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    stepper = Stepper(experiment.training, device)
    loader = validation_loader(images, batches, experiment.data.loader_processes)
    return EvaluatedModel(
        evaluation=stepper.evaluate(model.to(device), loader),
        zeros=_zeros(model, files),
        receipt=read_receipt(files),
    )


def _registered(reference: str, tracking_uri: str, folder: str) -> tuple[nn.Module, Path]:
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(tracking_uri)
    try:
        local = download_artifacts(artifact_uri=reference, dst_path=folder)
    except MlflowException as error:
        raise SettingError("--model", reference, str(error).splitlines()[0]) from error
    module: Any = mlflow_pytorch.load_model(local)
    # An exported program is in evaluation mode for good and refuses to be told so.
    module.eval = lambda: module
    return module, Path(local) / "extra_files"


def _saved(files: Path) -> nn.Module:
    weights = load_file(files / WEIGHTS)
    experiment = _experiment(files)
    model = build(
        experiment.model.name,
        num_classes=load_images(experiment.data).num_classes,
        **experiment.model.options,
    )
    model.load_state_dict(weights)
    return model


def _moved(data: DataConfig, path: Path) -> DataConfig:
    return data.model_copy(update={"path": path.absolute()})


def _experiment(files: Path) -> Experiment:
    return Experiment.model_validate_json((files / EXPERIMENT).read_text(encoding="utf-8"))


def _zeros(model: nn.Module, files: Path) -> int:
    layers: list[dict[str, Any]] = json.loads((files / BUDGET_JSON).read_text(encoding="utf-8"))
    state = model.state_dict()
    return sum(int((state[f"{layer['name']}.weight"] == 0).sum()) for layer in layers)

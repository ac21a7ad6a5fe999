"""Evaluate a registered or saved model on its data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mlflow import pytorch as mlflow_pytorch
from torch import nn

from strsweep.registry.finished_model import finished_model, our_network
from strsweep.registry.receipt import BUDGET_JSON, Receipt, read_receipt
from strsweep.training.input_pipeline import InputPipeline
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
        CheckpointError: The weights of a folder cannot be read.
        SettingError: There is no such model, or no such data.
    """
    with finished_model(reference, tracking_uri) as found:
        experiment = found.experiment(data_path)
        if found.mlflow_folder is None:
            model = our_network(found.files, experiment)
        else:
            model = _program(found.mlflow_folder)
        data = InputPipeline(experiment, rank=0, world_size=1)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        stepper = Stepper(data.task, experiment.training, device)
        return EvaluatedModel(
            evaluation=stepper.evaluate(model.to(device), data.validation),
            zeros=_zeros(model, found.files),
            receipt=read_receipt(found.files),
        )


def _program(mlflow_folder: Path) -> nn.Module:
    module: Any = mlflow_pytorch.load_model(str(mlflow_folder))
    # An exported program is in evaluation mode for good and refuses to be told so.
    module.eval = lambda: module
    return module


def _zeros(model: nn.Module, files: Path) -> int:
    layers: list[dict[str, Any]] = json.loads((files / BUDGET_JSON).read_text(encoding="utf-8"))
    state = model.state_dict()
    return sum(int((state[layer["parameter"]] == 0).sum()) for layer in layers)

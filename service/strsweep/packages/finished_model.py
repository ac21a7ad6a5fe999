"""Find a finished model by its name, a version in MLflow or a package folder; use it again."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from strsweep.config import Experiment
from strsweep.errors import CheckpointError, SettingError
from strsweep.imports import trusting
from strsweep.models import build
from strsweep.models.registered import downloaded
from strsweep.packages.receipt import (
    BUDGET_JSON,
    EXPERIMENT,
    PACKAGE_FILES,
    WEIGHTS,
    Receipt,
    read_receipt,
)
from strsweep.sparsity.budget import Budget
from strsweep.sparsity.lowrank import saved
from strsweep.training.loop import InputPipeline, Stepper
from strsweep.training.network import plain_network

_NUMBERED = partial(build, "resnet50", num_classes=1000)
"""Whose layers the authors' table of other methods numbers."""


class FinishedModel(NamedTuple):
    """The files of one model, on this machine."""

    files: Path
    """The package: weights, budget, experiment and receipt."""
    mlflow_folder: Path | None
    """What MLflow loads as a program; None for a package folder."""

    def experiment(self, data_path: Path | None = None) -> Experiment:
        """Return how the model was trained, with its images at ``data_path`` if they moved.

        Raises:
            CheckpointError: Its file is damaged.
        """
        text = (self.files / EXPERIMENT).read_text(encoding="utf-8")
        try:
            experiment = Experiment.model_validate_json(text)
        except ValidationError as error:
            raise CheckpointError(f"{self.files / EXPERIMENT} is damaged: {error}") from error
        if data_path is None:
            return experiment
        data = experiment.data.model_copy(update={"path": data_path.absolute()})
        return experiment.model_copy(update={"data": data})

    def network(self) -> nn.Module:
        """Return our network with the weights of the package, in evaluation mode, on the CPU.

        Raises:
            CheckpointError: The weights cannot be read or belong to another network.
            SettingError: The network cannot be built here.
        """
        path = self.files / WEIGHTS
        try:
            options = read_receipt(self.files).model_options
            return plain_network(self.experiment(), load_file(path), options)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"the weights {path} cannot be read: {error}") from error
        except RuntimeError as error:
            raise CheckpointError(f"{path} belongs to another network: {error}") from error

    def program(self) -> nn.Module:
        """Return the program that is registered; of a folder, and without one, our network.

        Raises:
            SettingError: It brings code or a pickle, which MLflow would use.
        """
        if self.mlflow_folder is None or not (self.mlflow_folder / "data").is_dir():
            return self.network()
        from mlflow import pytorch as mlflow_pytorch
        from mlflow.models import Model

        flavor: dict[str, Any] = Model.load(str(self.mlflow_folder)).flavors.get("pytorch", {})
        data = self.mlflow_folder / "data"
        is_ours = flavor.get("model_data") == "data" and (data / "model.pt2").is_file()
        if not is_ours or flavor.get("code") or (data / "model.pth").exists():
            remedy = "It is no exported program alone, as strsweep registers them: it is not run."
            raise SettingError("--model", str(self.mlflow_folder), remedy)
        try:
            module: Any = mlflow_pytorch.load_model(str(self.mlflow_folder))
        except Exception as error:  # of MLflow or torch, as the file happens to be broken
            remedy = f"Its program cannot be loaded, and is not run: {error}"
            raise SettingError("--model", str(self.mlflow_folder), remedy) from error
        # An exported program is in evaluation mode for good and refuses to be told so.
        module.eval = lambda: module
        return module


@contextmanager
def finished_model(
    reference: str, tracking_uri: str, *, option: str = "--model", trust: Sequence[str] = ()
) -> Generator[FinishedModel]:
    """Find ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or a package folder.

    What is downloaded is removed at the end of the ``with`` block. Within it, no code runs that the
    files name: networks are ours or torchvision's, or of a trusted module.

    Args:
        reference: Which model.
        tracking_uri: MLflow server of a registered model.
        option: What the user named it with.
        trust: Modules that the files may name.

    Raises:
        SettingError: There is no such model.
    """
    with tempfile.TemporaryDirectory() as folder:
        mlflow_folder = None
        if reference.startswith("models:/"):
            os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
            mlflow_folder = downloaded(reference, tracking_uri, folder, option)
        files = Path(reference) if mlflow_folder is None else mlflow_folder / "extra_files"
        missing = [name for name in PACKAGE_FILES if not (files / name).is_file()]
        if missing:
            remedy = "of a model that strsweep registered, or the folder of one."
            told = f"It holds no {', '.join(missing)}. Name models:/NAME@ALIAS {remedy}"
            raise SettingError(option, reference, told)
        with trusting(trust):
            yield FinishedModel(files, mlflow_folder)


class EvaluatedModel(NamedTuple):
    """What the model gives today, beside what its receipt says."""

    metrics: dict[str, float]
    """Of the task, by name."""
    zeros: int
    """Counted in the weights that were evaluated."""
    receipt: Receipt


def evaluate_model(
    reference: str, tracking_uri: str, data_path: Path | None = None, trust: Sequence[str] = ()
) -> EvaluatedModel:
    """Evaluate ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or a package folder.

    A registered model is run as the program that is registered, a folder as our network with the
    weights of the file. Neither unpickles anything.

    Args:
        reference: Which model.
        tracking_uri: MLflow server of a registered model.
        data_path: Folder of the images, if it is not where it was in training.
        trust: Modules that the files may name.

    Raises:
        CheckpointError: The weights of a folder cannot be read.
        SettingError: There is no such model, or no such data.
    """
    with finished_model(reference, tracking_uri, trust=trust) as found:
        experiment = found.experiment(data_path)
        model = found.program()
        data = InputPipeline(experiment, rank=0, world_size=1)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        stepper = Stepper(data.task, experiment.training, device)
        metrics = data.task.metrics(stepper.evaluate(model.to(device), data.validation()))
        layers: list[dict[str, Any]] = json.loads((found.files / BUDGET_JSON).read_bytes())
        state = model.state_dict()
        zeros = sum(_zeros(state, layer) for layer in layers)
        return EvaluatedModel(metrics, zeros, read_receipt(found.files))


def _zeros(state: dict[str, Any], layer: dict[str, Any]) -> int:
    try:
        return saved(state, layer["parameter"], layer["weights"])
    except KeyError:  # a weight that is computed is in no state
        return layer["zeros"]


def read_budget(reference: str, tracking_uri: str) -> Budget:
    """Read the layer budget that ``reference`` names.

    Args:
        reference: ``models:/NAME@ALIAS``, a model folder, a ``.json`` or ``.csv`` file of
            layers, or ``FILE.csv#90.23`` or ``#ERK`` for a column of the authors' own tables.
        tracking_uri: MLflow server of a registered model.

    Raises:
        SettingError: There is no such model or file, or it holds no budget.
    """
    option = "--budget"
    try:
        if ".csv#" in reference:
            name, _, column = reference.rpartition("#")
            return Budget.from_authors_csv(name, column, _NUMBERED)
        if Path(reference).suffix in {".json", ".csv"}:
            return _budget_in(Path(reference))
        with finished_model(reference, tracking_uri, option=option) as found:
            return _budget_in(found.files / BUDGET_JSON)
    except OSError as error:
        raise SettingError(option, reference, f"{error.strerror}: name a budget.") from error
    except ValueError as error:
        raise SettingError(option, reference, str(error)) from error


def _budget_in(path: Path) -> Budget:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".json":
        return Budget.from_json(text)
    if text.startswith(("Metric,", "Layer,")):
        raise ValueError("this is the authors' table: name one of its models, as in FILE.csv#90.23")
    return Budget.from_csv(text)

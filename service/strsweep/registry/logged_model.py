"""A package as a model in MLflow, once per weights: a program, or else weights for its own code."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mlflow import MlflowClient
from mlflow import pytorch as mlflow_pytorch
from mlflow.entities import LoggedModel, LoggedModelOutput
from mlflow.models import Model, infer_signature

from strsweep.config import Experiment
from strsweep.errors import ExportError
from strsweep.export import FORMATS, Inputs, largest_difference, quiet
from strsweep.packages.package import Package
from strsweep.packages.receipt import PACKAGE_FILES, label
from strsweep.progress import say
from strsweep.registry.server import artifact_errors, first_line
from strsweep.storage import storage_of

FORM_TAG = "form"
"""Of a logged model: ``weights`` if it is no program."""


def logged_model(
    client: MlflowClient, experiment: Experiment, place: str, made: Package, mlflow_id: str
) -> LoggedModel:
    """Return the model of MLflow that holds these weights; it is logged if need be.

    A model that a killed publisher left half written is found by its weights and finished.

    ``place`` is MLflow's id of the experiment, ``mlflow_id`` that of the run that trained it.

    Raises:
        MlflowException: The server does not answer; a later call goes on from there.
    """
    receipt, name = made.receipt, label(made.receipt.target)
    score, metric = receipt.score, receipt.metric.name
    results = {"sparsity": receipt.sparsity, metric: score, "macs": receipt.macs}
    identity = {"weights_sha256": receipt.weights_sha256, "label": name}
    identity["sweep_id"] = receipt.sweep_id
    found = _found(client, place, identity)
    if found is None:
        client.create_logged_model(
            place,
            name=name,
            source_run_id=mlflow_id,
            tags=identity,
            params={key: f"{value:.6g}" for key, value in results.items()},
        )
        found = _found(client, place, identity)  # another publisher may have made it just before
        assert found is not None
    if str(found.status) != "READY":
        _upload(client, experiment, made, found.model_id)
    outputs = client.get_run(mlflow_id).outputs
    linked = [] if outputs is None else [output.model_id for output in outputs.model_outputs]
    if found.model_id not in linked:
        client.log_outputs(mlflow_id, [LoggedModelOutput(found.model_id, step=0)])
    return client.get_logged_model(found.model_id)


def _found(client: MlflowClient, place: str, tags: dict[str, str]) -> LoggedModel | None:
    """Return the oldest model with these tags; younger ones are removed."""
    wanted = " and ".join(f"tags.{key} = '{text}'" for key, text in tags.items())
    found: Sequence[LoggedModel] = client.search_logged_models([place], filter_string=wanted)
    ordered = sorted(found, key=lambda model: (model.creation_timestamp, model.model_id))
    for extra in ordered[1:]:
        client.delete_logged_model(extra.model_id)
    return ordered[0] if ordered else None


def _upload(client: MlflowClient, experiment: Experiment, made: Package, model_id: str) -> None:
    """Write an exported program (pt2): no pickle, no code of ours; if it cannot be, weights."""
    # Not within a run: MLflow would set the run that trained it going again.
    with storage_of(experiment).local(made.folder) as files, artifact_errors(), quiet():
        extra_files = [str(files / name) for name in PACKAGE_FILES]
        given: Any = {"name": label(made.receipt.target), "extra_files": extra_files}
        given |= {"artifact_path": None, "model_id": model_id, "made": made}
        try:
            Model.log(flavor=SimpleNamespace(save_model=_save_program), **given)
        except ExportError as error:
            say(f"{made.folder} is registered as weights, which need its code to run: {error}")
            client.set_logged_model_tags(model_id, {FORM_TAG: "weights"})
            Model.log(flavor=SimpleNamespace(save_model=_save_weights), **given)


def _save_program(path: str, mlflow_model: Model, made: Package, extra_files: list[str]) -> None:
    """Write what MLflow loads as a program; raises ``ExportError`` if that is not the model."""
    try:
        if not made.inputs:
            raise ExportError("a program takes tensors, and the model of this task takes others")
        mlflow_pytorch.save_model(
            made.model,
            path,
            mlflow_model=mlflow_model,
            serialization_format="pt2",
            input_example=[value.numpy() for value in made.inputs],
            signature=infer_signature(_arrays(made.inputs), _arrays(made.outputs)),
            extra_files=extra_files,
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
        )
        program = FORMATS["program"].load(made.model, Path(path) / "data/model.pt2")
        with torch.no_grad():  # a network that loops over its batch is written for the example's
            largest_difference(made.model, program.run, made.inputs)
    except Exception as error:  # exporters raise anything on a model they cannot follow
        raise ExportError(first_line(error)) from error


def _save_weights(path: str, mlflow_model: Model, extra_files: list[str], **_: Any) -> None:
    """Write the package alone, which ``finished_model`` builds the network from."""
    folder = Path(path) / "extra_files"
    folder.mkdir(parents=True)
    for file in extra_files:
        shutil.copy(file, folder)
    mlflow_model.save(str(Path(path) / "MLmodel"))


def _arrays(values: Inputs) -> Any:
    """Return one array, or several by name, as MLflow's signatures have them."""
    arrays = [value.numpy() for value in values]
    return arrays[0] if len(arrays) == 1 else {str(i): array for i, array in enumerate(arrays)}

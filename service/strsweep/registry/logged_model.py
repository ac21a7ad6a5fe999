"""A package as a model in MLflow, in a form that loads without this library; once per weights."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from typing import Any

import mlflow
import torch
from mlflow import MlflowClient
from mlflow import pytorch as mlflow_pytorch
from mlflow.entities import LoggedModel, LoggedModelOutput
from mlflow.models import Model, infer_signature

from strsweep.config import Experiment
from strsweep.export.exported_file import Inputs
from strsweep.registry.package import Package
from strsweep.registry.receipt import PACKAGE_FILES, label
from strsweep.registry.server import artifact_errors
from strsweep.storage import storage_of


def logged_model(
    client: MlflowClient, experiment: Experiment, place: str, made: Package, mlflow_id: str
) -> str:
    """Return MLflow's id of the model that holds these weights; it is logged if need be.

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
        _upload(experiment, made, found.model_id)
    outputs = client.get_run(mlflow_id).outputs
    linked = [] if outputs is None else [output.model_id for output in outputs.model_outputs]
    if found.model_id not in linked:
        client.log_outputs(mlflow_id, [LoggedModelOutput(found.model_id, step=0)])
    return found.model_id


def _found(client: MlflowClient, place: str, tags: dict[str, str]) -> LoggedModel | None:
    """Return the oldest model with these tags; younger ones are removed."""
    wanted = " and ".join(f"tags.{key} = '{text}'" for key, text in tags.items())
    found: Sequence[LoggedModel] = client.search_logged_models([place], filter_string=wanted)
    ordered = sorted(found, key=lambda model: (model.creation_timestamp, model.model_id))
    for extra in ordered[1:]:
        client.delete_logged_model(extra.model_id)
    return ordered[0] if ordered else None


def _upload(experiment: Experiment, made: Package, model_id: str) -> None:
    """Write an exported program (pt2): no pickle, no code of ours."""
    mlflow.set_tracking_uri(experiment.tracking.uri)
    mlflow.set_registry_uri(experiment.tracking.uri)
    local = storage_of(experiment).local(made.folder)
    # Not within a run: MLflow would set the run that trained it going again.
    with warnings.catch_warnings(), local as files, artifact_errors():
        warnings.simplefilter("ignore")  # torch.export and MLflow note things nobody can act on
        logging.getLogger("torch.export").setLevel(logging.ERROR)
        Model.log(
            artifact_path=None,
            name=label(made.receipt.target),
            flavor=mlflow_pytorch,
            model_id=model_id,
            pytorch_model=made.model,
            serialization_format="pt2",
            input_example=[value.numpy() for value in made.inputs],
            signature=infer_signature(_arrays(made.inputs), _arrays(made.outputs)),
            extra_files=[str(files / name) for name in PACKAGE_FILES],
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
        )


def _arrays(values: Inputs) -> Any:
    """Return one array, or several by name, as MLflow's signatures have them."""
    arrays = [value.numpy() for value in values]
    return arrays[0] if len(arrays) == 1 else {str(i): array for i, array in enumerate(arrays)}

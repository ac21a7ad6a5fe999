"""Register one model per target in MLflow, in a form that loads without this library."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow import pytorch as mlflow_pytorch
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature

from strsweep.config import Experiment, Target
from strsweep.data import Images, load_images
from strsweep.journal import Journal, ModelLanded, ModelPublished, RunRecord, SweepRecord
from strsweep.registry.front import draw_front
from strsweep.registry.package import (
    PACKAGE_FILES,
    Package,
    Receipt,
    label,
    package,
)
from strsweep.registry.shown import chosen
from strsweep.registry.tracking import Tracking
from strsweep.storage import SweepStorage
from strsweep.sweep.outcome import TargetOutcome, outcomes
from strsweep.sweep.record_view import finished_runs, goal_of
from strsweep.sweep.state import FinishedRun


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """One target, and what was registered for it."""

    outcome: TargetOutcome | None
    """None for a single run, which nobody aimed."""
    receipt: Receipt | None
    version: str | None
    """Of the registered model; None if MLflow could not be reached."""


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What a sweep handed over."""

    models: tuple[Delivered, ...]
    is_behind: bool
    """True if MLflow still lacks something that the journal has."""

    @property
    def is_complete(self) -> bool:
        """True if everything asked for was registered."""
        return not self.is_behind and all(model.version is not None for model in self.models)


def publish_sweep(experiment: Experiment, record: SweepRecord, tracking: Tracking) -> Delivery:
    """Package and register the most accurate run of every target that was hit, as it landed."""
    finished = finished_runs(record, experiment)
    states = outcomes(goal_of(record, experiment), finished)
    publisher = _Publisher(experiment, tracking)
    models: list[Delivered] = []
    for state in states:
        if state.run is None:
            models.append(Delivered(outcome=state, receipt=None, version=None))
        else:
            landed = record.landed.get((state.target, state.run.run_id))
            models.append(publisher.publish(record.runs[state.run.run_id], state, landed))
    publisher.finish(finished, models)
    return Delivery(models=tuple(models), is_behind=tracking.is_behind or publisher.is_behind)


def publish_single(experiment: Experiment, record: SweepRecord, tracking: Tracking) -> Delivery:
    """Package and register the finished run of ``jobs/train.py``; it gets no alias."""
    publisher = _Publisher(experiment, tracking)
    models = [publisher.publish(run, None, None) for run in record.finished_runs[:1]]
    publisher.finish([], models)
    return Delivery(
        models=tuple(models) or (Delivered(outcome=None, receipt=None, version=None),),
        is_behind=tracking.is_behind or publisher.is_behind,
    )


class _Publisher:
    def __init__(self, experiment: Experiment, tracking: Tracking) -> None:
        self._experiment = experiment
        self._tracking = tracking
        self._client = tracking.client
        self._storage = SweepStorage.of(experiment)
        self._journal = Journal(self._storage)
        self._images = load_images(experiment.data)
        self.is_behind = False

    def publish(
        self, run: RunRecord, state: TargetOutcome | None, landed: ModelLanded | None
    ) -> Delivered:
        """Write the files, which needs no server, and register them if MLflow answers."""
        target = None if state is None else state.target
        made = package(
            self._experiment, self._storage, self._images, run, target=target, landed=landed
        )
        version: str | None = None
        try:
            version = self._registered(made) or self._register(made, target)
        except MlflowException as error:
            self.is_behind = True
            print(f"{made.folder} is not registered yet: {str(error).splitlines()[0]:.200}")
        return Delivered(outcome=state, receipt=made.receipt, version=version)

    def finish(self, finished: Sequence[FinishedRun], models: Sequence[Delivered]) -> None:
        """Draw the front and close the sweep's MLflow run."""
        if finished:
            receipts = [model.receipt for model in models if model.receipt is not None]
            targets = self._experiment.search.targets
            draw_front(self._storage.path("front.png"), finished, receipts, targets)
        try:
            if finished:
                self._client.log_artifact(
                    self._tracking.mlflow_id(None), str(self._storage.path("front.png"))
                )
            self._tracking.close_sweep()
        except (MlflowException, KeyError):
            self.is_behind = True

    def _registered(self, made: Package) -> str | None:
        """Return the version that holds this very file for this very target, if there is one."""
        receipt = made.receipt
        query = (
            f"name = '{self._experiment.model_name}' "
            f"and tags.weights_sha256 = '{receipt.weights_sha256}' "
            f"and tags.label = '{label(receipt.target)}'"
        )
        found = self._client.search_model_versions(query, max_results=1)
        return None if not found else str(found[0].version)

    def _register(self, made: Package, target: Target | None) -> str:
        name = self._experiment.model_name
        run_id = self._tracking.mlflow_id(made.receipt.run_id)
        uri = _log_model(self._experiment, made, self._storage, self._images, run_id)
        self._ensure_registered_model(name)
        version = self._client.create_model_version(
            name, uri, run_id=run_id, tags=_version_tags(made.receipt), model_id=uri.split("/")[-1]
        ).version
        if target is not None:
            self._client.set_registered_model_alias(name, label(target), str(version))
        self._journal.append(
            ModelPublished(
                target=target,
                run_id=made.receipt.run_id,
                folder=made.folder,
                model_uri=uri,
                version=str(version),
            )
        )
        return str(version)

    def _ensure_registered_model(self, name: str) -> None:
        if not self._client.search_registered_models(f"name = '{name}'"):
            self._client.create_registered_model(name)


def _log_model(
    experiment: Experiment, made: Package, storage: SweepStorage, images: Images, run_id: str
) -> str:
    """Log the model as an exported program (pt2): no pickle, no code of ours; returns its URI."""
    dataset: Any = images.val
    # Two images: torch.export would freeze a batch of one into the program.
    example = torch.stack([dataset[index][0] for index in (0, 1)])
    with torch.no_grad():
        signature = infer_signature(example.numpy(), made.model(example).numpy())
    mlflow.set_tracking_uri(experiment.tracking.uri)
    mlflow.set_registry_uri(experiment.tracking.uri)
    with warnings.catch_warnings(), mlflow.start_run(run_id=run_id):
        warnings.simplefilter("ignore")  # torch.export and MLflow note things nobody can act on
        logging.getLogger("torch.export").setLevel(logging.ERROR)
        info = mlflow_pytorch.log_model(
            made.model,
            name=label(made.receipt.target),
            serialization_format="pt2",
            input_example=np.asarray(example),
            signature=signature,
            extra_files=[str(storage.path(f"{made.folder}/{file}")) for file in PACKAGE_FILES],
            pip_requirements=[f"torch=={torch.__version__.partition('+')[0]}"],
        )
    return f"models:/{info.model_id}"


def _version_tags(receipt: Receipt) -> dict[str, str]:
    return {
        "label": label(receipt.target),
        "mode": receipt.mode,
        "sparsity": f"{receipt.sparsity:.6f}",
        "accuracy": f"{receipt.accuracy:.6f}",
        "macs": str(receipt.macs),
        **{key: f"{value:g}" for key, value in chosen(receipt.settings).items()},
        "sweep_id": receipt.sweep_id,
        "run_id": receipt.run_id,
        **_landed_tags(receipt),
        "weights_sha256": receipt.weights_sha256,
    }


def _landed_tags(receipt: Receipt) -> dict[str, str]:
    if receipt.landed is None:
        return {}
    return {
        "landed_shift": f"{receipt.landed.shift:g}",
        "sparsity_before_landing": f"{receipt.landed.sparsity_before:.6f}",
        "accuracy_before_landing": f"{receipt.landed.accuracy_before:.6f}",
    }

"""The page of the sweep in MLflow, under which its runs are nested."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.tracking.context.registry import resolve_tags

from strsweep import __version__
from strsweep.config import Experiment
from strsweep.journal import SweepRecord
from strsweep.registry.server import artifact_errors
from strsweep.registry.shown import NOTE_TAG, recipe
from strsweep.registry.sweep_runs import ShownRun, SweepRuns

_ITSELF = ""


def sweep_run(
    client: MlflowClient, runs: SweepRuns, experiment: Experiment, record: SweepRecord
) -> ShownRun:
    """Return the MLflow run of the sweep; it is made and filled if need be.

    Raises:
        MlflowException: The server does not answer.
    """
    shown = runs.get(_ITSELF)
    if shown is None:
        # User, job and, where it is known, the commit, as MLflow finds them.
        tags: dict[str, str] = {**resolve_tags(), "mlflow.runName": experiment.sweep_id}
        shown = runs.make(_ITSELF, tags, start=record.started[0].time)
    new = {key: text for key, text in recipe(experiment).items() if key not in shown.params}
    targets = ", ".join(map(str, experiment.search.targets))
    client.log_batch(
        shown.mlflow_id,
        params=[Param(key, text) for key, text in new.items()],
        tags=[
            RunTag("strsweep.targets", targets),
            RunTag("strsweep.version", __version__),
            RunTag(NOTE_TAG, shown.tags.get(NOTE_TAG) or asked(experiment)),
        ],
    )
    shown.params |= set(new)
    client.log_inputs(shown.mlflow_id, [data_set(experiment)])
    with artifact_errors():
        client.log_dict(shown.mlflow_id, experiment.model_dump(mode="json"), "experiment.yaml")
    return shown


def show_as(client: MlflowClient, shown: ShownRun, status: str, end: float | None = None) -> None:
    """Give a run its status, and with an end the time when it was reached.

    Raises:
        MlflowException: The server does not answer.
    """
    if shown.status == status:
        return
    if end is None:
        client.update_run(shown.mlflow_id, status=status)
    else:
        client.set_terminated(shown.mlflow_id, status, end_time=int(end * 1000))
    shown.status = status


def asked(experiment: Experiment) -> str:
    """Return what was asked for, as Markdown."""
    search = experiment.search
    targets = ", ".join(map(str, search.targets))
    wanted = f"Asked for {targets}" if targets else "One run with fixed settings"
    return (
        f"{wanted}: `{experiment.model.name}` on `{experiment.data_name}`, "
        f"{experiment.training.epochs} epochs each, mode `{experiment.sparsity.mode}`."
    )


def data_set(experiment: Experiment) -> DatasetInput:
    """Return the data set in MLflow's words.

    The digest is one of what the settings say of it, not of the images.
    """
    data = experiment.data
    told = data.model_dump(mode="json", exclude={"loader_processes"}, exclude_defaults=True)
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
    place = str(data.path or experiment.data_name)
    dataset = Dataset(
        name=experiment.data_name,
        digest=digest,
        source_type="local" if data.path is not None else "code",
        source=json.dumps({"uri": place}),
        profile=json.dumps(told),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def totals(record: SweepRecord, shown: ShownRun, num_events: int) -> list[Metric]:
    """Return the totals that MLflow does not have yet; their step is the length of the journal."""
    return list(_new_totals(record, shown, num_events))


def _new_totals(record: SweepRecord, shown: ShownRun, num_events: int) -> Iterator[Metric]:
    values = {
        "runs": len(record.runs),
        "epochs_trained": record.epochs_trained,
        "models_published": len(record.published),
    }
    last = max([run.proposed.time for run in record.runs.values()] + [record.started[-1].time])
    for key, value in values.items():
        if shown.metrics.get(key) != value:
            shown.metrics[key] = value
            yield Metric(key, value, int(last * 1000), num_events)

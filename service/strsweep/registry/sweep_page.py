"""The page of the sweep in MLflow, under which its runs are nested."""

from __future__ import annotations

import hashlib
import json

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.tracking.context.registry import resolve_tags

from strsweep import __version__
from strsweep.config import Experiment
from strsweep.journal import SweepRecord
from strsweep.registry.notes import asked_note
from strsweep.registry.server import artifact_errors
from strsweep.registry.sweep_runs import NOTE_TAG, ShownRun, SweepRuns, metrics_at

_ALWAYS = {
    "model": {"name"},
    "data": {"name"},
    "training": {"epochs", "batch_size", "learning_rate", "seed"},
    "sparsity": {"mode"},
}
"""Settings to show though they are defaults."""
_NO_RESULT_DEPENDS_ON_IT = {"checkpoint_every", "loader_processes"}


def sweep_run(
    client: MlflowClient, runs: SweepRuns, experiment: Experiment, record: SweepRecord
) -> ShownRun:
    """Return the MLflow run of the sweep; it is made and filled if need be.

    Raises:
        MlflowException: The server does not answer.
    """
    shown = runs.get("")
    if shown is None:
        # User, job and, where it is known, the commit, as MLflow finds them.
        tags: dict[str, str] = {**resolve_tags(), "mlflow.runName": experiment.sweep_id}
        shown = runs.make("", tags, start=record.started[0].time)
    new = {key: text for key, text in recipe(experiment).items() if key not in shown.params}
    client.log_batch(
        shown.mlflow_id,
        params=[Param(key, text) for key, text in new.items()],
        tags=[
            RunTag("strsweep.targets", ", ".join(map(str, experiment.search.targets))),
            RunTag("strsweep.version", __version__),
            RunTag(NOTE_TAG, shown.tags.get(NOTE_TAG) or asked_note(experiment)),
        ],
    )
    shown.params |= set(new)
    client.log_inputs(shown.mlflow_id, [_data_set(experiment)])
    with artifact_errors():
        client.log_dict(shown.mlflow_id, experiment.model_dump(mode="json"), "experiment.yaml")
    return shown


def recipe(experiment: Experiment) -> dict[str, str]:
    """Return what cannot change in the life of a sweep: MLflow's parameters cannot either.

    Settings with their default are left out, but for the few that everybody asks for.
    """
    own = experiment.model_dump(mode="json", exclude_defaults=True)
    full = experiment.model_dump(mode="json")
    flat = {
        f"{section}.{key}": _short(value)
        for section, always in _ALWAYS.items()
        for key, value in full[section].items()
        if key in always or key in own.get(section, {})
        if key not in _NO_RESULT_DEPENDS_ON_IT
    }
    search = experiment.search
    own_decay = ("threshold_decay",) if search.decay == "own" else ()
    learned = ("threshold_init", "decay", "led", *own_decay)
    searched = {
        f"search.{key}": "auto" if key in search.resolved else str(getattr(search, key))
        for key in ("weight_decay", *(learned if experiment.sparsity.needs_search else ()))
    }
    return flat | searched | {"workers.count": str(experiment.workers.count)}


def _short(value: object) -> str:
    # MLflow takes no longer text; experiment.yaml beside it has everything.
    return f"{len(value)} layers" if isinstance(value, dict) and len(value) > 9 else str(value)


def _data_set(experiment: Experiment) -> DatasetInput:
    """Return the data set in MLflow's words.

    The digest is one of what the settings say of it, not of the images.
    """
    data = experiment.data
    told = data.model_dump(mode="json", exclude={"loader_processes"}, exclude_defaults=True)
    dataset = Dataset(
        name=experiment.data_name,
        digest=hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12],
        source_type="local" if data.path is not None else "code",
        source=json.dumps({"uri": str(data.path or experiment.data_name)}),
        profile=json.dumps(told),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def totals(record: SweepRecord, shown: ShownRun, num_events: int) -> list[Metric]:
    """Return the totals that MLflow does not have yet; their step is the length of the journal."""
    values = {
        "runs": len(record.runs),
        "epochs_trained": record.epochs_trained,
        "models_published": len(record.published),
    }
    new = {key: value for key, value in values.items() if shown.metrics.get(key) != value}
    shown.metrics |= new
    last = max([run.proposed.time for run in record.runs.values()] + [record.started[-1].time])
    return metrics_at(last, num_events, new)

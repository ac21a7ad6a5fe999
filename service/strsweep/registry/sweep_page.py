"""The page of the sweep in MLflow, under which its runs are nested."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Param, RunTag
from mlflow.tracking.context.registry import resolve_tags

from strsweep import __version__
from strsweep.config import Experiment
from strsweep.journal import SweepRecord
from strsweep.registry.notes import asked_note
from strsweep.registry.server import NOTE_TAG, artifact_errors, show_columns
from strsweep.registry.sweep_runs import (
    NAME_TAG,
    STATE_TAG,
    SWEEP,
    TARGET_TAG,
    ShownRun,
    SweepRuns,
    metrics_at,
)

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
    shown = runs.get(SWEEP)
    if shown is None:
        # User, job and, where it is known, the commit, as MLflow finds them.
        tags: dict[str, str] = {**resolve_tags(), NAME_TAG: experiment.sweep_id}
        shown = runs.make(SWEEP, tags, start=record.started[0].time)
    new = {key: text for key, text in recipe(experiment).items() if key not in shown.params}
    tags = {
        TARGET_TAG: ", ".join(map(str, experiment.search.targets)) or "none: one run",
        "strsweep.version": __version__,
        NOTE_TAG: shown.tags.get(NOTE_TAG) or asked_note(experiment),
    }
    client.log_batch(
        shown.mlflow_id,
        params=[Param(key, text) for key, text in new.items()],
        tags=[RunTag(key, text) for key, text in tags.items()],
    )
    shown.params |= set(new)
    if record.problem is not None:
        show_columns(client, runs.place, record.problem.metric.name)
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


def show_progress(
    client: MlflowClient, shown: ShownRun, experiment: Experiment, record: SweepRecord
) -> None:
    """Send state and totals of a sweep if MLflow has others.

    The step of a value is the second of the sweep: the charts are over wall time.

    Raises:
        MlflowException: The server does not answer.
    """
    assert record.problem is not None
    begun, scores = record.started[0].time, _scores(record)
    values, name = _totals(record, scores), f"delivered_{record.problem.metric.name}"
    new = {key: value for key, value in values.items() if shown.metrics.get(key) != value}
    state = _state(experiment, record, values)
    if not new and shown.tags.get(STATE_TAG) == state:
        return
    events = [*record.started, *(run.proposed for run in record.runs.values())]
    last = max(event.time for event in [*events, *record.published.values()])
    metrics = metrics_at(last, int(last - begun), {k: v for k, v in new.items() if k != name})
    for time, score in scores:  # what is there already is not doubled
        metrics += metrics_at(time, int(time - begun), {name: score})
    client.log_batch(shown.mlflow_id, metrics=metrics, tags=[RunTag(STATE_TAG, state)])
    shown.metrics |= new
    shown.tags[STATE_TAG] = state


def _totals(record: SweepRecord, scores: Sequence[tuple[float, float]]) -> dict[str, float]:
    """Return what a sweep used so far, and what it delivered, with ``scores`` at their times."""
    assert record.problem is not None
    metric = record.problem.metric
    values: dict[str, float] = {
        "runs": len(record.runs),
        "epochs_trained": record.epochs_trained,
        "targets_delivered": len(record.published),
    }
    if scores:
        values[f"delivered_{metric.name}"] = scores[-1][1]
        values[f"best_{metric.name}"] = max((score for _, score in scores), key=metric.rank)
    return values


def _state(experiment: Experiment, record: SweepRecord, totals: Mapping[str, float]) -> str:
    assert record.problem is not None
    metric, targets = record.problem.metric, experiment.search.targets or (None,)
    delivered = sum(target in record.published for target in targets)
    best = totals.get(f"best_{metric.name}")
    score = "" if best is None else f", best {metric.text(best, 1)}"
    return f"{delivered} of {len(targets)} delivered{score}"


def _scores(record: SweepRecord) -> list[tuple[float, float]]:
    """Return when the model of every target was published and its score, in order of time."""
    assert record.problem is not None
    metric, scores = record.problem.metric, list[tuple[float, float]]()
    for target, event in record.published.items():
        source = record.result(event.run_id, target)
        if source is not None and metric.name in source.metrics:
            scores.append((event.time, metric.of(source.metrics)))
    return sorted(scores)

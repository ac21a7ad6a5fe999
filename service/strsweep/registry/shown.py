"""What MLflow shows of a sweep and its runs: parameters, metrics, tags and states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlflow.entities import Metric, RunTag

from strsweep.config import Experiment, RunSettings
from strsweep.journal import EpochFinished, ModelLanded, RunRecord
from strsweep.sweep.status import percent

METRICS = ("sparsity", "accuracy", "train_loss", "val_loss", "learning_rate", "macs")
"""Of every epoch."""
LANDED_TAG = "strsweep.landed."


def chosen(settings: RunSettings) -> dict[str, float]:
    """Return the settings that a run has: one without thresholds has no first value of them."""
    return settings.model_dump(exclude_none=True)


def epoch_metrics(event: EpochFinished) -> list[Metric]:
    """Return the values of one epoch."""
    step = int(event.metrics["epoch"])
    return [Metric(key, event.metrics[key], int(event.time * 1000), step) for key in METRICS]


def landed_metrics(event: ModelLanded, step: int) -> list[Metric]:
    """Return what landing gave; a run that lands on several targets has one step for each."""
    return [
        Metric(f"landed_{key}", value, int(event.time * 1000), step)
        for key, value in event.metrics.items()
    ]


def landed_tag(event: ModelLanded) -> RunTag:
    """Return the tag that tells of a landing, and that it was delivered."""
    accuracy = percent(event.metrics["accuracy"], 2)
    text = f"{event.target}: accuracy {accuracy}, shift {event.shift:+.4g}"
    return RunTag(LANDED_TAG + event.target.label, text)


def status(run: RunRecord) -> str:
    """Return the state of a run in MLflow's words; one that was stopped early is killed there."""
    if run.finished is not None:
        return "FINISHED"
    if run.failed is not None:
        return "FAILED"
    return "RUNNING" if run.stopped is None else "KILLED"


def run_name(run: RunRecord) -> str:
    """Return what the page of the experiment lists: aim, run and weight decay."""
    aim = "" if run.proposed.target is None else f"target {run.proposed.target} · "
    return f"{aim}{run.run_id} · decay {run.proposed.settings.weight_decay:.2e}"


def end_tags(run: RunRecord) -> Sequence[RunTag]:
    """Return why a run is not, or no longer, under way; empty where a reason holds no more."""
    tags: list[RunTag] = []
    if run.failed is not None:
        tags.append(RunTag("strsweep.failure", run.failed.reason))
    if run.stopped is not None or run.resumed is not None:
        tags.append(RunTag("strsweep.stopped", run.stopped.reason if run.stopped else ""))
    return tags


def recipe(experiment: Experiment) -> dict[str, str]:
    """Return what cannot change in the life of a sweep: MLflow's parameters cannot either."""
    sections: dict[str, Any] = experiment.model_dump(
        mode="json", exclude={"name", "search", "storage", "tracking", "workers"}
    )
    flat = {
        f"{section}.{key}": _short(value)
        for section, values in sections.items()
        for key, value in values.items()
    }
    search = experiment.search
    searched = {
        f"search.{key}": "auto" if key in search.resolved else str(getattr(search, key))
        for key in ("threshold_init", "weight_decay")
    }
    return flat | searched | {"workers.count": str(experiment.workers.count)}


def _short(value: object) -> str:
    # MLflow takes no longer text; experiment.yaml beside it has everything.
    return f"{len(value)} layers" if isinstance(value, dict) and len(value) > 9 else str(value)

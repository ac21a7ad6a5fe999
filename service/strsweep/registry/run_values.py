"""What MLflow lacks of one run, in as few calls as it takes."""

from __future__ import annotations

from collections.abc import Sequence

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from strsweep.journal import ModelLanded, RunRecord
from strsweep.registry.shown import (
    end_tags,
    epoch_metrics,
    landed_metrics,
    landed_tag,
)
from strsweep.registry.sweep_runs import ShownRun

_EPOCHS_PER_CALL = 100
"""MLflow takes a thousand values at once, and keeps them all or none: an epoch is never split."""


def send_values(
    client: MlflowClient, shown: ShownRun, run: RunRecord, landed: Sequence[ModelLanded]
) -> None:
    """Send settings, epochs, landings and reasons that MLflow does not have.

    MLflow keeps every value it is sent, unless all of it is the same. Time, step and value come
    from the journal, so a value that is sent twice is there once. An epoch that was trained again
    has another time: what MLflow has is not sent again.

    Args:
        client: Of the server.
        shown: What MLflow has; is brought up to date.
        run: What the journal knows.
        landed: Landings of the run, in their order.

    Raises:
        MlflowException: The server does not answer; what it took is not known.
    """
    params = _new_params(shown, run)
    tags = _new_tags(shown, run, landed)
    rows, sent = run.epochs, shown.epoch
    metrics = [epoch_metrics(rows[epoch]) for epoch in sorted(rows) if epoch > sent]
    parts = [metrics[i : i + _EPOCHS_PER_CALL] for i in range(0, len(metrics), _EPOCHS_PER_CALL)]
    if not (parts or params or tags):
        return
    *full, last = parts or [[]]
    for part in full:
        client.log_batch(shown.mlflow_id, metrics=_flat(part))
    # Tags last, in the call that has the landings: a tag says that they were delivered.
    client.log_batch(
        shown.mlflow_id,
        metrics=_flat([*last, _new_landings(shown, landed)]),
        params=params,
        tags=tags,
    )
    shown.epoch = max([sent, *rows])
    shown.params |= {param.key for param in params}
    shown.tags |= {tag.key: tag.value for tag in tags}


def _new_params(shown: ShownRun, run: RunRecord) -> list[Param]:
    numbers = run.settings.numbers
    return [Param(key, f"{value:g}") for key, value in numbers.items() if key not in shown.params]


def _new_tags(shown: ShownRun, run: RunRecord, landed: Sequence[ModelLanded]) -> list[RunTag]:
    tags = [*end_tags(run), *map(landed_tag, landed)]
    return [tag for tag in tags if shown.tags.get(tag.key) != tag.value]


def _new_landings(shown: ShownRun, landed: Sequence[ModelLanded]) -> list[Metric]:
    tags = [landed_tag(event) for event in landed]
    return [
        metric
        for step, (event, tag) in enumerate(zip(landed, tags, strict=True))
        if shown.tags.get(tag.key) != tag.value
        for metric in landed_metrics(event, step)
    ]


def _flat(parts: Sequence[Sequence[Metric]]) -> list[Metric]:
    return [metric for part in parts for metric in part]

"""The page of a run in MLflow: settings, epochs, landings and its end, in few calls."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from strsweep.journal import ModelLanded, RunRecord
from strsweep.registry.receipt import layer_csv
from strsweep.registry.report.runs import role_of
from strsweep.registry.server import artifact_errors
from strsweep.registry.sweep_runs import NOTE_TAG, ShownRun, metrics_at, show_as
from strsweep.settings import percent

_EPOCHS_PER_CALL = 100
"""MLflow takes a thousand values at once, and keeps them all or none: an epoch is never split."""
_NOT_SHOWN = {"dense_macs", "seconds", "unreadable_images"}
"""Of the numbers of every epoch."""
_LANDED_TAG = "strsweep.landed."
_LONGEST = 5000
"""Characters of a tag."""


def show_run(
    client: MlflowClient, shown: ShownRun, run: RunRecord, landed: Sequence[ModelLanded]
) -> None:
    """Send what MLflow does not have: settings, epochs, landings, reasons, and how the run ended.

    ``shown`` is what MLflow has, and is brought up to date; ``landed`` are in their order.

    Raises:
        MlflowException: The server does not answer; what it took is not known.
    """
    _send_values(client, shown, run, landed)
    status = _status(run)
    if shown.status == status:
        return
    with artifact_errors():
        if run.finished is not None:
            client.log_text(shown.mlflow_id, layer_csv(run.finished.layers), "layers.csv")
        if run.unreadable and not run.is_open:
            text = "\n".join(run.unreadable) + "\n"
            client.log_text(shown.mlflow_id, text, "unreadable_images.txt")
    show_as(client, shown, status, None if run.is_open else end_time(run))


def _send_values(
    client: MlflowClient, shown: ShownRun, run: RunRecord, landed: Sequence[ModelLanded]
) -> None:
    # MLflow keeps every value it is sent, unless all of it is the same. Time, step and value come
    # from the journal, so a value that is sent twice is there once. An epoch that was trained again
    # has another time: what MLflow has is not sent again.
    numbers = run.settings.numbers
    params = [Param(key, f"{value:g}") for key, value in numbers.items() if key not in shown.params]
    texts = _tags(run, landed)
    tags = {key: text for key, text in texts.items() if shown.tags.get(key) != text}
    epochs = [epoch for epoch in sorted(run.epochs) if epoch > shown.epoch]
    if not (epochs or params or tags):
        return
    values: list[list[Metric]] = []
    for epoch in epochs:
        metrics = run.epochs[epoch].metrics
        given = {key: value for key, value in metrics.items() if key not in _NOT_SHOWN}
        values.append(metrics_at(run.epochs[epoch].time, epoch, given))
    while len(values) > _EPOCHS_PER_CALL:
        part, values = values[:_EPOCHS_PER_CALL], values[_EPOCHS_PER_CALL:]
        client.log_batch(shown.mlflow_id, metrics=[*chain(*part)])
    for step, event in enumerate(landed):  # a run that lands on several targets has a step for each
        if _LANDED_TAG + event.target.label in tags:
            given = {f"landed_{key}": value for key, value in event.metrics.items()}
            values.append(metrics_at(event.time, step, given))
    # Tags last, in the call that has the landings: a tag says that they were delivered.
    sent = [RunTag(key, text) for key, text in tags.items()]
    client.log_batch(shown.mlflow_id, metrics=[*chain(*values)], params=params, tags=sent)
    shown.epoch = max([shown.epoch, *epochs])
    shown.params |= {param.key for param in params}
    shown.tags |= tags


def _status(run: RunRecord) -> str:
    """Return the state of a run in MLflow's words; one that was stopped early is killed there."""
    if run.finished is not None:
        return "FINISHED"
    if run.failed is not None:
        return "FAILED"
    return "RUNNING" if run.stopped is None else "KILLED"


def end_time(run: RunRecord) -> float:
    """Return when a run ended, or did something last; seconds since 1970."""
    ends = [event.time for event in (run.finished, run.failed, run.stopped) if event is not None]
    return max([run.proposed.time, *ends, *(event.time for event in run.epochs.values())])


def run_name(run: RunRecord) -> str:
    """Return what the page of the experiment lists: what the run is for, and its id."""
    aim = "" if run.target is None else f"target {run.target}"
    return " · ".join(filter(None, (role_of(run) or aim, run.run_id)))


def _tags(run: RunRecord, landed: Sequence[ModelLanded]) -> dict[str, str]:
    """Return what a run is for, why it is not, or no longer, under way, and how it landed."""
    tags = {NOTE_TAG: note(run)}
    if run.failed is not None:
        tags["strsweep.failure"] = run.failed.reason[:_LONGEST]
    if run.stopped is not None:
        tags["strsweep.stopped"] = run.stopped.reason[:_LONGEST]
    for event in landed:
        told = f"sparsity {percent(event.metrics['sparsity'])}, shift {event.shift:+.4g}"
        tags[_LANDED_TAG + event.target.label] = f"{event.target}: {told}"
    return tags


def note(run: RunRecord) -> str:
    """Return why a run was tried and how it ended, in two sentences."""
    reason = run.proposed.reason
    if run.target is not None:
        sentences = [f"Aims at {run.target}, {reason}."]
    elif run.settings.is_dense or run.proposed.refines is not None:
        sentences = [f"Trained for {reason}."]
    else:
        sentences = [f"{reason[:1].upper()}{reason[1:]}."]
    if run.settings.fork is not None:
        sentences.append(f"Its first {run.settings.fork.epoch} epochs are those of another run.")
    if run.failed is not None:
        sentences.append(f"It failed: {run.failed.reason[: _LONGEST // 2]}")
    elif run.stopped is not None:
        sentences.append(f"It was stopped after epoch {run.stopped.epoch}: {run.stopped.reason}.")
    return " ".join(sentences)

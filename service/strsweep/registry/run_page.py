"""The page of a run in MLflow: name, settings, epochs, landings and its end, in few calls."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from strsweep.journal import ModelLanded, RunRecord, SweepRecord
from strsweep.packages.receipt import layer_csv
from strsweep.registry.server import NOTE_TAG, artifact_errors
from strsweep.registry.sweep_runs import (
    NAME_TAG,
    STATE_TAG,
    TARGET_TAG,
    ShownRun,
    metrics_at,
    show_as,
)
from strsweep.report.rows import purpose_of, role_of
from strsweep.settings import percent

_EPOCHS_PER_CALL = 100
"""MLflow takes a thousand values at once, and keeps them all or none: an epoch is never split."""
_NOT_SHOWN = {"dense_macs", "seconds", "unreadable_images"}
"""Of the numbers of every epoch."""
_LONGEST = 500
"""Characters of a reason in a tag, which is a cell of a table."""


def show_run(client: MlflowClient, page: ShownRun, run: RunRecord, record: SweepRecord) -> None:
    """Send what MLflow does not have: settings, epochs, landings, reasons, and how the run ended.

    ``page`` is what MLflow has, and is brought up to date.

    Raises:
        MlflowException: The server does not answer; what it took is not known.
    """
    _send_values(client, page, run, record)
    status = _status(run)
    if page.status == status:
        return
    with artifact_errors():
        if run.finished is not None:
            client.log_text(page.mlflow_id, layer_csv(run.finished.layers), "layers.csv")
        if run.unreadable and not run.is_open:
            text = "\n".join(run.unreadable) + "\n"
            client.log_text(page.mlflow_id, text, "unreadable_images.txt")
    show_as(client, page, status, None if run.is_open else max(run.times))


def _send_values(client: MlflowClient, page: ShownRun, run: RunRecord, record: SweepRecord) -> None:
    # MLflow keeps every value it is sent, unless all of it is the same. Time, step and value come
    # from the journal, so a value that is sent twice is there once. An epoch that was trained again
    # has another time: what MLflow has is not sent again.
    numbers = run.settings.numbers
    params = [Param(key, f"{value:g}") for key, value in numbers.items() if key not in page.params]
    tags = {key: text for key, text in _run_tags(run, record).items() if page.tags.get(key) != text}
    epochs = [epoch for epoch in sorted(run.epochs) if epoch > page.epoch]
    if not (epochs or params or tags):
        return
    values: list[list[Metric]] = []
    for epoch in epochs:
        metrics = run.epochs[epoch].metrics
        given = {key: value for key, value in metrics.items() if key not in _NOT_SHOWN}
        values.append(metrics_at(run.epochs[epoch].time, epoch, given))
    while len(values) > _EPOCHS_PER_CALL:
        part, values = values[:_EPOCHS_PER_CALL], values[_EPOCHS_PER_CALL:]
        client.log_batch(page.mlflow_id, metrics=[*chain(*part)])
    if NOTE_TAG in tags:  # it tells of every landing
        for step, event in enumerate(_landings(run, record), max(run.epochs, default=0) + 1):
            values.append(metrics_at(event.time, step, event.metrics))
    # Tags last, in the call that has the landings: the note says that they were delivered.
    sent = [RunTag(key, text) for key, text in tags.items()]
    client.log_batch(page.mlflow_id, metrics=[*chain(*values)], params=params, tags=sent)
    page.epoch = max([page.epoch, *epochs])
    page.params |= {param.key for param in params}
    page.tags |= tags


def _status(run: RunRecord) -> str:
    """Return the state of a run in MLflow's words; one that was stopped early is killed there."""
    if run.finished is not None:
        return "FINISHED"
    if run.failed is not None:
        return "FAILED"
    return "RUNNING" if run.stopped is None else "KILLED"


def _run_tags(run: RunRecord, record: SweepRecord) -> dict[str, str]:
    """Return name, target, state and note of a run; none of them is empty."""
    aim = purpose_of(run)
    tags = {NAME_TAG: run_name(run, record), STATE_TAG: _state(run, record)}
    return tags | {NOTE_TAG: note(run, record)} | ({TARGET_TAG: aim} if aim else {})


def run_name(run: RunRecord, record: SweepRecord) -> str:
    """Return the id of a run and what it became: ``run-004 · 95 % · 98.9 %``."""
    role = role_of(run)
    if run.finished is None:
        end = "failed" if run.failed else "stopped" if run.stopped else role
        return " · ".join(filter(None, (run.run_id, end)))
    landings = _landings(run, record)
    metrics = (landings[-1] if landings else run.finished).metrics
    delivered = [event.target for event in landings] or _delivered(run, record)
    became = role or ", ".join(map(str, delivered)) or percent(metrics.get("sparsity", 0.0), 2)
    parts = [run.run_id, became]
    if record.problem is not None and (metric := record.problem.metric).name in metrics:
        parts.append(metric.text(metric.of(metrics), 1))
    return " · ".join(parts)


def _state(run: RunRecord, record: SweepRecord) -> str:
    """Return where a run stands, in a few words."""
    if run.failed is not None:
        return f"failed: {run.failed.reason}"[:_LONGEST]
    if run.stopped is not None:
        return f"stopped: {run.stopped.reason}"[:_LONGEST]
    if run.finished is None:
        return "training"
    if delivered := _delivered(run, record):
        return f"delivered: {', '.join(map(str, delivered))}"
    if any(event.run_id == run.run_id for event in record.published.values()):
        return "delivered"  # the only run, which has no target
    landed = [str(event.target) for event in _landings(run, record)]
    return f"landed: {', '.join(landed)}" if landed else "finished"


def _delivered(run: RunRecord, record: SweepRecord) -> list[str]:
    """Return the targets that the run is delivered for now, as a person reads them."""
    events = record.published.items()
    return [str(t) for t, event in events if t is not None and event.run_id == run.run_id]


def _landings(run: RunRecord, record: SweepRecord) -> Sequence[ModelLanded]:
    """Return the landings of a run, in their order."""
    return [event for event in record.landed.values() if event.run_id == run.run_id]


def note(run: RunRecord, record: SweepRecord) -> str:
    """Return why a run was tried, how it ended and where it landed, in a few sentences."""
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
        sentences.append(f"It failed: {run.failed.reason[:4000]}")
    elif run.stopped is not None:
        sentences.append(f"It was stopped after epoch {run.stopped.epoch}: {run.stopped.reason}.")
    for event in _landings(run, record):
        landed = f"Landed on {event.target}: {percent(event.metrics['sparsity'], 2)} zeros"
        shift = f"thresholds shifted by {event.shift:+.3g}"
        sentences.append(f"{landed}, {shift}; the charts end with it.")
    return " ".join(sentences)

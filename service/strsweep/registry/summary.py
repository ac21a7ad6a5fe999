"""What the page of a finished sweep shows: a note, the picture of its front, the report."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import RunTag

from strsweep.config import Experiment
from strsweep.journal import SweepRecord
from strsweep.registry.delivery import Delivered
from strsweep.registry.front import front_png
from strsweep.registry.mlflow_pages import artifact_page, model_page, run_page
from strsweep.registry.receipt import Receipt
from strsweep.registry.report import REPORT, report_files
from strsweep.registry.report.runs import run_hours
from strsweep.registry.server import artifact_errors
from strsweep.registry.shown import NOTE_TAG
from strsweep.registry.sweep_page import asked
from strsweep.registry.tracking import Tracking
from strsweep.search.outcome import dense_score
from strsweep.search.runs import Run, read_state
from strsweep.settings import percent


def summary_files(
    experiment: Experiment,
    record: SweepRecord,
    receipts: Sequence[Receipt],
    finished: Sequence[Run],
    tracking: Tracking,
) -> dict[str, bytes]:
    """Return name -> content of the files that show a sweep; none for a single run.

    Args:
        experiment: Of the sweep.
        record: With what was published.
        receipts: Of the packages.
        finished: Runs of the sweep.
        tracking: Knows the pages of the runs, if it delivered them.
    """
    if not finished:
        return {}
    files = report_files(experiment, record, receipts, _run_pages(experiment, tracking))
    assert record.problem is not None
    dense = dense_score(read_state(record, experiment))
    files["front.png"] = front_png(
        finished, receipts, experiment.search.targets, record.problem.metric, dense
    )
    return {f"report/{name}": content for name, content in files.items()}


def _run_pages(experiment: Experiment, tracking: Tracking) -> Callable[[str], str] | None:
    uri = experiment.tracking.uri
    if tracking.is_behind or not experiment.tracking.is_server:
        return None
    return lambda run_id: run_page(uri, tracking.runs.place, tracking.mlflow_id(run_id))


def show_summary(
    client: MlflowClient, mlflow_id: str, text: str, files: Mapping[str, bytes]
) -> None:
    """Put note and files on the MLflow run of the sweep.

    Raises:
        MlflowException: The server does not answer.
    """
    client.log_batch(mlflow_id, tags=[RunTag(NOTE_TAG, text)])
    if not files:
        return
    with tempfile.TemporaryDirectory() as folder, artifact_errors():
        for name, content in files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        client.log_artifacts(mlflow_id, folder)


def delivered_note(
    experiment: Experiment,
    record: SweepRecord,
    models: Sequence[Delivered],
    tracking: Tracking,
    files: Mapping[str, bytes],
) -> str:
    """Return what was asked for and delivered, as Markdown with links."""
    hours = sum(map(run_hours, record.runs.values()))
    lines = [asked(experiment), "", *_table(experiment, record, models), ""]
    cost = f"{len(record.runs)} runs, {record.epochs_trained} epochs, {hours:.2f} hours of training"
    lines.append(f"It cost {cost}.")
    if f"report/{REPORT}" in files:
        place, mlflow_id = tracking.runs.place, tracking.mlflow_id(None)
        page = artifact_page(_base(experiment), place, mlflow_id, f"report/{REPORT}")
        lines += ["", f"[The whole report]({page})"]
    return "\n".join(lines)


def _base(experiment: Experiment) -> str:
    """Return what links begin with; without a server they stay on the one that shows them."""
    uri = experiment.tracking.uri
    return uri if experiment.tracking.is_server else ""


def _table(experiment: Experiment, record: SweepRecord, models: Sequence[Delivered]) -> list[str]:
    assert record.problem is not None
    rows = [
        f"| target | sparsity | {record.problem.metric.name} | MACs left | run | version |",
        "|---|--:|--:|--:|---|---|",
    ]
    return rows + [_row(experiment, model) for model in models]


def _row(experiment: Experiment, model: Delivered) -> str:
    target = "-" if model.outcome is None else str(model.outcome.target)
    receipt = model.receipt
    if receipt is None:
        return f"| {target} | missed | | | | |"
    version = "not yet"
    if model.version is not None:
        link = model_page(_base(experiment), experiment.model_name, model.version)
        version = f"[{experiment.model_name} v{model.version}]({link})"
    score = ", ".join(filter(None, (receipt.score_text, receipt.against_dense)))
    return (
        f"| {target} | {percent(receipt.sparsity, 2)} | {score} "
        f"| {percent(receipt.macs / receipt.dense_macs, 1)} | {receipt.run_id} | {version} |"
    )

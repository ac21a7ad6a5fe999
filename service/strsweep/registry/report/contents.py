"""All that the report tells of one sweep: page, charts and files show these values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from strsweep.config import Experiment, Problem
from strsweep.config.sections import results_folder
from strsweep.errors import InvalidExperimentError, JournalError, SettingError
from strsweep.journal import Journal, LayerRow, SweepRecord, replay
from strsweep.registry.receipt import RECEIPT, Receipt
from strsweep.registry.report.runs import Link, run_rows, shown
from strsweep.registry.report.table import Column, Row, duration, number, rows_of, share, whole
from strsweep.search.outcome import dense_score, outcomes_of
from strsweep.search.runs import read_state
from strsweep.settings import Metric, Target
from strsweep.storage import Store, is_object_store, store_at

_NOT_YET = "no model was delivered yet"


@dataclass(frozen=True, kw_only=True)
class SweepContents:
    """One sweep: what was asked, done and delivered."""

    title: str
    """Name and mode."""
    experiment: Experiment
    problem: Problem
    dense_score: float | None
    """Of the dense network of the same recipe; None if it was not trained."""
    runs: list[Row]
    """In the order of proposal."""
    models: list[Row]
    """In the order of the targets; then a single run's, if any."""
    layers: list[Row]
    """Model by model, from input to output."""
    epochs: dict[str, list[dict[str, float]]]
    """Run id -> what every epoch measured; an epoch that was trained twice is here once."""

    @property
    def metric(self) -> Metric:
        """What its models are judged by."""
        return self.problem.metric

    @property
    def delivered(self) -> list[Row]:
        """The models that there are."""
        return [model for model in self.models if model.values["state"] != "missed"]

    @property
    def ratio(self) -> float | None:
        """Epochs paid for each epoch of one full run per model; None if nothing was delivered."""
        one_each = len(self.delivered) * self.experiment.training.epochs
        return self.total("epochs_paid") / one_each if one_each else None

    def total(self, column: str) -> float:
        """Return the sum over all runs."""
        return sum(run.values[column] for run in self.runs)


def sweep_rows(sweeps: Sequence[SweepContents]) -> list[Row]:
    """Return one row per sweep: what it was, and what it cost, in training and validation."""
    columns: list[Column[SweepContents]] = [
        Column("sweep", lambda s: s.title, "sweep"),
        Column("model", lambda s: s.experiment.model.name, "model"),
        Column("data", lambda s: s.experiment.data.name, "data"),
        Column("method", lambda s: s.experiment.method),
        Column("metric", lambda s: s.metric.model_dump()),
        Column("dense_score", lambda s: s.dense_score),
        Column("weights", lambda s: s.problem.weights),
        Column("dense_macs", lambda s: s.problem.dense_macs),
        Column("epochs_per_run", lambda s: s.experiment.training.epochs),
        Column("targets", lambda s: len(s.models), "targets", whole),
        Column("delivered", lambda s: len(s.delivered), "delivered", whole),
        Column("num_runs", lambda s: len(s.runs), "runs", whole),
        Column("epochs", lambda s: s.total("epochs_paid"), "epochs", whole),
        Column("hours", lambda s: s.total("hours_paid"), "training", duration),
        Column("ratio", lambda s: s.ratio, "against one run per model", "{:.2f} \u00d7".format),
        Column("registered_model", lambda s: s.experiment.model_name),
        Column("sweep_id", lambda s: s.experiment.sweep_id, "id", style="code"),
    ]
    return rows_of(columns, sweeps)


def contents_of(
    experiment: Experiment,
    record: SweepRecord,
    receipts: Sequence[Receipt],
    link: Link | None = None,
) -> SweepContents:
    """Collect what the report tells.

    Args:
        experiment: Of the sweep.
        record: All that its journal knows; the sweep was started.
        receipts: Of the delivered models, at most one per target.
        link: Maps a run id to the address of its page; None for no links.
    """
    assert record.problem is not None
    link = link or (lambda _: "")
    dense = dense_score(read_state(record, experiment))
    return SweepContents(
        title=f"{experiment.name} ({experiment.sparsity.mode})",
        experiment=experiment,
        problem=record.problem,
        dense_score=dense,
        runs=run_rows(record.runs.values(), record.problem, link),
        models=_model_rows(experiment, record, receipts, dense, link),
        layers=_layer_rows(record, receipts),
        epochs={
            run.run_id: [row.metrics for _, row in sorted(run.epochs.items())]
            for run in record.runs.values()
        },
    )


def _model_rows(
    experiment: Experiment,
    record: SweepRecord,
    receipts: Sequence[Receipt],
    dense: float | None,
    link: Link,
) -> list[Row]:
    """Return one row per target, in the order they were asked; then a single run's, if any.

    Shares are fractions. The row of a missed target has no more than what to change.
    """
    assert record.problem is not None
    states = [] if experiment.is_single else outcomes_of(record, experiment)
    advice: dict[Target | None, str] = {s.target: s.advice or _NOT_YET for s in states}
    missed: list[Column[Target | None]] = [
        Column("asked", shown, "asked"),
        Column("state", lambda _: "missed", "state"),
        Column("advice", lambda t: advice.get(t, _NOT_YET), "what to change", style="long"),
    ]
    delivered = _delivered_columns(experiment, record, record.problem.metric, dense)
    by_target = {receipt.target: receipt for receipt in receipts}
    rows: list[Row] = []
    for target in dict.fromkeys([*experiment.search.targets, *by_target]):
        if (receipt := by_target.get(target)) is None:
            rows += rows_of(missed, [target])
        else:
            rows += rows_of(delivered, [receipt], lambda receipt: link(receipt.run_id))
    return rows


def _delivered_columns(
    experiment: Experiment, record: SweepRecord, metric: Metric, dense: float | None
) -> list[Column[Receipt]]:
    def version(receipt: Receipt) -> str:
        found = record.published.get(receipt.target)
        return found.version if found is not None and found.run_id == receipt.run_id else ""

    def apart(difference: float) -> str:
        return metric.difference(difference, 0)

    model, name, before = experiment.model_name, metric.name, f"{metric.name}_before"
    vs = "" if dense is None else "vs dense"
    return [
        Column("asked", lambda r: shown(r.target), "asked"),
        Column("state", lambda r: "landed" if r.landed else "as trained", "state"),
        Column("", lambda r: r.trained_at, "trained at"),
        Column("sparsity_before", lambda r: r.landed and r.landed.sparsity_before),
        Column("sparsity", lambda r: r.sparsity, "sparsity", share),
        Column(before, lambda r: r.landed and r.landed.score_before, f"{name} before", metric.text),
        Column(name, lambda r: r.score, name, metric.text, "strong"),
        Column("vs_dense", lambda r: None if dense is None else r.score - dense, vs, apart),
        Column("macs_before", lambda r: r.landed and r.landed.macs_before),
        Column("macs", lambda r: r.macs, "MACs", whole),
        Column("macs_share", lambda r: r.macs / r.dense_macs, "of dense", share),
        Column("run_id", lambda r: r.run_id, "run", style="link"),
        Column("version", version, "registered as", lambda v: f"{model} v{v}" if v else "not yet"),
        Column("weights_sha256", lambda r: r.weights_sha256, "sha256", "{:.12}".format, "code"),
    ]


def _layer_rows(record: SweepRecord, receipts: Sequence[Receipt]) -> list[Row]:
    """Return the layers of all delivered models, or of all pruned runs where there are none."""
    finished = {run.run_id: run.finished.layers for run in record.finished_runs if run.finished}
    models = [
        (
            shown(receipt.target) or receipt.run_id,
            record.landed[receipt.target, receipt.run_id].layers
            if receipt.landed is not None and receipt.target is not None
            else finished[receipt.run_id],
        )
        for receipt in receipts
    ]
    pruned = {run: own for run, own in finished.items() if not record.runs[run].settings.is_dense}
    return [row for model, own in models or pruned.items() for row in _layers_of(model, own)]


def _layers_of(model: str, layers: Sequence[LayerRow]) -> list[Row]:
    """Return the layers of one model, which is called by its target, or else by its run."""
    total = sum(layer.macs for layer in layers) or 1
    columns: list[Column[LayerRow]] = [
        Column("model", lambda _: model, "model"),
        Column("name", lambda layer: layer.name, "layer"),
        Column("parameter", lambda layer: layer.parameter),
        Column("weights", lambda layer: layer.weights, "weights", whole),
        Column("zeros", lambda layer: layer.zeros, "zeros", whole),
        Column("sparsity", lambda layer: layer.zeros / layer.weights, "sparsity", share),
        Column("dense_macs", lambda layer: layer.dense_macs, "dense MACs", whole),
        Column("macs", lambda layer: layer.macs, "MACs", whole),
        Column("macs_share", lambda layer: layer.macs / total, "of the model's", share),
        Column("threshold", lambda layer: layer.threshold, "threshold", number),
    ]
    return rows_of(columns, layers)


def read_sweep(reference: str) -> SweepContents:
    """Return what the report tells of a sweep from its storage alone, without links.

    Args:
        reference: Its folder, ``s3://BUCKET/PREFIX`` of it, or its id under the results folder.

    Raises:
        SettingError: There is no such sweep, or this version cannot read it.
        StorageError: The storage refuses, or stayed away too long.
    """
    is_place = is_object_store(reference) or Path(reference).is_dir()
    storage = store_at(reference if is_place else str(results_folder() / "sweeps" / reference))
    try:
        record = replay(Journal(storage).read())
        if not record.started:
            remedy = "No sweep lies there: name its id, or its folder with journal/ in it."
            raise SettingError("--sweep", reference, remedy)
        experiment = Experiment.model_validate(record.started[-1].experiment)
        return contents_of(experiment, record, _receipts(experiment, record, storage))
    except (ValidationError, InvalidExperimentError, JournalError) as error:
        told = str(error).splitlines()[0]
        raise SettingError("--sweep", reference, f"It cannot be read: {told:.300}") from error


def _receipts(experiment: Experiment, record: SweepRecord, storage: Store) -> list[Receipt]:
    """Return the receipts of the delivered models, registered or not."""
    folders = [published.folder for published in record.published.values()]
    if not experiment.is_single:
        states = outcomes_of(record, experiment)
        folders += [f"models/{s.target.label}/{s.run.run_id}" for s in states if s.run is not None]
    found: dict[str, Receipt] = {}
    for folder in dict.fromkeys(folders):
        try:
            receipt = Receipt.model_validate_json(storage.read(f"{folder}/{RECEIPT}"))
        except FileNotFoundError:
            continue  # hit, but not packaged yet
        found[str(receipt.target)] = receipt
    return list(found.values())

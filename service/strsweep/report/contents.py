"""All that the report tells of one sweep: page, charts and files show these values."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from strsweep.config import Experiment, Problem
from strsweep.errors import JournalError, SettingError
from strsweep.journal import LayerRow, SweepRecord
from strsweep.packages.receipt import RECEIPT, Receipt
from strsweep.report.rows import (
    Link,
    is_under_way,
    model_rows,
    models_of,
    rank_rows,
    run_rows,
)
from strsweep.search.outcome import dense_score, outcomes_of
from strsweep.search.runs import read_state
from strsweep.settings import Metric
from strsweep.status import StartedSweep, recorded
from strsweep.table import Column, Row, duration, number, rows_of, share, whole


@dataclass(frozen=True, kw_only=True)
class SweepContents:
    """One sweep: what was asked, done and delivered."""

    title: str
    """Name and mode."""
    experiment: Experiment
    problem: Problem
    dense_score: float | None
    """Of the dense network of the same recipe; None if it was not trained."""
    is_open: bool
    """True if something is left to train, by a job that runs or by the next one."""
    sessions: list[tuple[float, float]]
    """When each job began, and its last news, in seconds since 1970."""
    settings: dict[str, Any]
    """Those that are not their defaults; where data and results lie is left out."""
    runs: list[Row]
    """In the order of proposal."""
    models: list[Row]
    """In the order of the targets; then a single run's, if any."""
    layers: list[Row]
    """Model by model, from input to output."""
    ranks: list[Row]
    """All ranks that a run passed, where they are learned, with the best score at each."""
    epochs: dict[str, list[dict[str, float]]]
    """Run id -> what every epoch measured; an epoch that was trained twice is here once."""

    @property
    def metric(self) -> Metric:
        """What its models are judged by."""
        return self.problem.metric

    @property
    def delivered(self) -> list[Row]:
        """The models that there are."""
        return [model for model in self.models if model.values["run_id"]]

    @property
    def ratio(self) -> float | None:
        """Epochs paid for each epoch of one full run per model; None before there is an end."""
        one_each = len(self.delivered) * self.experiment.training.epochs
        return self.total("epochs_paid") / one_each if one_each and not self.is_open else None

    @property
    def wall_hours(self) -> float:
        """Hours that jobs worked on it."""
        return sum(end - begin for begin, end in self.sessions) / 3600

    def total(self, column: str) -> float:
        """Return the sum over all runs."""
        return sum(run.values[column] for run in self.runs)


def sweep_rows(sweeps: Sequence[SweepContents]) -> list[Row]:
    """Return one row per sweep: what it was, and what it cost, in training and validation."""
    columns: list[Column[SweepContents]] = [
        Column("sweep", lambda s: s.title, "sweep"),
        Column("model", lambda s: s.experiment.model.name, "model"),
        Column("data", lambda s: s.experiment.data_name, "data"),
        Column("method", lambda s: s.experiment.method),
        Column("metric", lambda s: s.metric.model_dump(exclude={"few_samples"})),
        Column("dense_score", lambda s: s.dense_score),
        Column("weights", lambda s: s.problem.weights),
        Column("dense_macs", lambda s: s.problem.dense_macs),
        Column("epochs_per_run", lambda s: s.experiment.training.epochs),
        Column("targets", lambda s: len(s.models), "targets", whole),
        Column("delivered", lambda s: len(s.delivered), "delivered", whole),
        Column("num_runs", lambda s: len(s.runs), "runs", whole),
        Column("epochs", lambda s: s.total("epochs_paid"), "epochs", whole),
        Column("hours", lambda s: s.total("hours_paid"), "training", duration),
        Column("wall_hours", lambda s: s.wall_hours, "wall time", duration),
        Column("started", lambda s: _date(s.sessions[0][0]), "started"),
        Column("updated", lambda s: _date(s.sessions[-1][1])),
        Column("is_open", lambda s: s.is_open),
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

    Read the record after publishing: then it has the versions.

    Args:
        experiment: Of the sweep.
        record: All that its journal knows; the sweep was started.
        receipts: Of the delivered models, at most one per target.
        link: Maps a run id to the address of its page; None for no links.
    """
    assert record.problem is not None
    link, metric = link or (lambda _: ""), record.problem.metric
    dense = dense_score(read_state(record, experiment))
    where = {"storage": True, "tracking": True, "data": {"path"}}
    given = experiment.model_dump(mode="json", exclude_defaults=True, exclude=where)
    return SweepContents(
        title=f"{experiment.name} ({experiment.sparsity.mode})",
        experiment=experiment,
        problem=record.problem,
        dense_score=dense,
        is_open=is_under_way(record, experiment),
        sessions=_sessions(record),
        settings=given,
        runs=run_rows(record.runs.values(), record.problem, link),
        models=model_rows(models_of(experiment, record, receipts), metric, dense, link),
        layers=_layer_rows(record, receipts),
        ranks=rank_rows(record.runs.values(), metric),
        epochs={
            run.run_id: [row.metrics for _, row in sorted(run.epochs.items())]
            for run in record.runs.values()
        },
    )


def _sessions(record: SweepRecord) -> list[tuple[float, float]]:
    """Return when each job began, and when it last wrote what it trained or landed."""
    begins = [event.time for event in record.started]
    times = [event.time for event in record.landed.values()]
    times += [time for run in record.runs.values() for time in run.times]
    return [
        (begin, max((time for time in times if begin <= time < until), default=begin))
        for begin, until in pairwise([*begins, math.inf])
    ]


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _layer_rows(record: SweepRecord, receipts: Sequence[Receipt]) -> list[Row]:
    """Return the layers of all delivered models, or of all pruned runs where there are none."""
    finished = {run.run_id: run.finished.layers for run in record.finished_runs if run.finished}
    models = [
        (
            str(receipt.target or receipt.run_id),
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
        Column("rank", lambda layer: layer.rank, "rank", whole),
        Column("full_rank", lambda layer: layer.full_rank, "full rank", whole),
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
    try:
        sweep = recorded(reference, None, setting="--sweep")
    except JournalError as error:
        told = " ".join(str(error).split())
        raise SettingError("--sweep", reference, f"It cannot be read: {told:.300}") from error
    return contents_of(sweep.experiment, sweep.record, stored_receipts(sweep))


def stored_receipts(sweep: StartedSweep) -> list[Receipt]:
    """Return the receipts of the delivered models, registered or not, at most one per target."""
    folders = [published.folder for published in sweep.record.published.values()]
    if not sweep.experiment.is_single:
        states = outcomes_of(sweep.record, sweep.experiment)
        folders += [f"models/{s.target.label}/{s.run.run_id}" for s in states if s.run is not None]
    found: dict[str, Receipt] = {}
    for folder in dict.fromkeys(folders):
        try:
            receipt = Receipt.model_validate_json(sweep.storage.read(f"{folder}/{RECEIPT}"))
        except (FileNotFoundError, ValidationError):
            continue  # hit and not packaged yet, or damaged: publishing writes it again
        found[str(receipt.target)] = receipt
    return list(found.values())

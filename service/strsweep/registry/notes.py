"""The texts in MLflow: the card of a model, what a sweep was asked for, what it delivered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from strsweep.config import Experiment
from strsweep.journal import RunRecord, SweepRecord
from strsweep.packages.receipt import Receipt, label
from strsweep.registry.delivery import SHOWN, Delivered, delivered_rows
from strsweep.registry.server import page
from strsweep.report.rows import run_hours
from strsweep.search.outcome import dense_score
from strsweep.search.runs import read_state
from strsweep.settings import count, percent
from strsweep.table import as_markdown, duration, only

_LONGEST = 4900
"""Characters that MLflow's databases keep of a description, less some."""
_LONGEST_VALUE = 80
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=select_autoescape(),  # of HTML; these are Markdown
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {str(value)[:_LONGEST_VALUE]}" for key, value in values.items())


_FILTERS: dict[str, Any] = {
    "percent": percent,
    "listed": _listed,
    "duration": duration,
    "count": count,
}
_TEMPLATES.filters.update(_FILTERS)


def model_card(
    receipt: Receipt, run: RunRecord, record: SweepRecord, experiment: Experiment, form: str
) -> str:
    """Return the description of a model, in Markdown, from journal and receipt alone.

    It was trained by ``run``; record and experiment are those of the sweep. ``form`` is how the
    model is registered: as a ``program``, or as ``weights``.
    """
    settings, training = receipt.settings, experiment.training
    shown = training.model_dump(mode="json", include={"epochs", "batch_size", "learning_rate"})
    steered = [row.metrics for epoch, row in run.epochs.items() if epoch > settings.onset]
    version = f"@{label(receipt.target)}" if receipt.target else "/VERSION"
    text = _TEMPLATES.get_template("card.md.jinja").render(
        receipt=receipt,
        form=form,
        run=run,
        run_hours=run_hours(run),
        record=record,
        hours=_hours(record),
        experiment=experiment,
        data=record.problem.identity.get("data", "") if record.problem is not None else "",
        training=shown | training.model_dump(mode="json", exclude_defaults=True),
        pruning=experiment.sparsity.model_dump(
            mode="json", exclude_defaults=True, exclude={"mode"}
        ),
        decays=[row["threshold_decay"] for row in steered if settings.lead is not None],
        reference=f"models:/{experiment.model_name}{version}",
    )
    return text[:_LONGEST]


def asked_note(experiment: Experiment) -> str:
    """Return what was asked for, as Markdown."""
    targets = ", ".join(map(str, experiment.search.targets))
    wanted = f"Asked for {targets}" if targets else "One run with fixed settings"
    return (
        f"{wanted}: `{experiment.model.name}` on `{experiment.data_name}`, "
        f"{experiment.training.epochs} epochs each, mode `{experiment.sparsity.mode}`."
    )


def delivered_note(
    experiment: Experiment,
    record: SweepRecord,
    models: Sequence[Delivered],
    report: tuple[str, ...],
    *,
    is_over: bool = True,
) -> str:
    """Return what was requested and delivered, as Markdown with links.

    Args:
        experiment: Without ``auto``.
        record: Of the sweep.
        models: Of its targets; while it goes on only those that are delivered.
        report: Path of the page with the report, as for ``page``; empty if there is none.
        is_over: False while the sweep goes on.
    """
    assert record.problem is not None
    tracking = experiment.tracking
    base = tracking.uri if tracking.is_server else ""  # links stay on the server that shows them
    metric, dense = record.problem.metric, dense_score(read_state(record, experiment))
    link = partial(page, base, "models", experiment.model_name, "versions")
    rows = delivered_rows(experiment, models, metric, dense, link)
    text = _TEMPLATES.get_template("delivered.md.jinja").render(
        asked=asked_note(experiment),
        table=as_markdown(only(rows, metric.name, *SHOWN)),
        record=record,
        hours=_hours(record),
        report=page(base, *report) if report else "",
        is_over=is_over,
    )
    return text.rstrip("\n")


def _hours(record: SweepRecord) -> float:
    return sum(map(run_hours, record.runs.values()))

"""The report of one sweep: a page, and its numbers beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from strsweep.config import Experiment
from strsweep.journal import SweepRecord
from strsweep.registry.receipt import Receipt
from strsweep.registry.report.contents import SweepContents, contents_of
from strsweep.registry.report.fronts import front
from strsweep.registry.report.layer_charts import (
    macs_map,
    shown_layers,
    sparsity_map,
    threshold_chart,
)
from strsweep.registry.report.numbers import number_files
from strsweep.registry.report.page import render
from strsweep.registry.report.runs import Link
from strsweep.registry.report.trajectories import (
    accuracy_over_epochs,
    sparsity_over_epochs,
)

REPORT = "report.html"


def report_files(
    experiment: Experiment,
    record: SweepRecord,
    receipts: Sequence[Receipt],
    link: Link | None = None,
) -> dict[str, bytes]:
    """Return ``report.html``, ``report.json`` and the CSV files of a sweep, by name.

    Args:
        experiment: Of the sweep.
        record: All that its journal knows; read it after publishing, so that it has the versions.
        receipts: Of the delivered models, at most one per target.
        link: Maps a run id to the absolute address of its page; None for no links.
    """
    contents = contents_of(experiment, record, receipts, link)
    figures = _figures(contents)
    page = render("sweep.html.jinja", figures, title=contents.sweep_id, sweep=contents)
    return {REPORT: page, **number_files(contents)}


def _figures(contents: SweepContents) -> dict[str, Any]:
    """Return the charts that have something to show."""
    figures: dict[str, Any] = {}
    if contents.epochs:
        figures |= {
            "front-sparsity": front(contents, "sparsity"),
            "front-macs": front(contents, "macs"),
            "sparsity-epochs": sparsity_over_epochs(contents),
            "accuracy-epochs": accuracy_over_epochs(contents),
        }
    if layers := shown_layers(contents.layers):
        figures |= {
            "layer-sparsity": sparsity_map(layers),
            "layer-macs": macs_map(layers),
            "thresholds": threshold_chart(layers),
        }
    return {name: figure for name, figure in figures.items() if figure is not None}

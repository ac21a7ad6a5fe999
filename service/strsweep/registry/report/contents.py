"""All that the report tells of one sweep, as plain values: page, tables and charts show these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from strsweep.config import Experiment
from strsweep.journal import SweepRecord
from strsweep.registry.receipt import Receipt
from strsweep.registry.report.cost import Cost, cost_of
from strsweep.registry.report.layers import ModelLayer, model_layers
from strsweep.registry.report.models import ModelRow, model_rows
from strsweep.registry.report.runs import Link, RunRow, run_rows
from strsweep.search.outcome import dense_score
from strsweep.search.runs import read_state
from strsweep.settings import Quantity


@dataclass(frozen=True, kw_only=True)
class AskedFor:
    """A target as a number."""

    name: str
    quantity: Quantity
    pruned: float
    """Share to prune."""


@dataclass(frozen=True, kw_only=True)
class SweepContents:
    """One sweep: what was asked, done and delivered."""

    name: str
    sweep_id: str
    mode: str
    method: str
    model: str
    data: str
    registered_model: str
    epochs_per_run: int
    tolerance: float | None
    """None: as far as landing is harmless."""
    dense_score: float | None
    """Of the dense network of the same recipe; None if it was not trained."""
    weights: int
    dense_macs: int
    targets: tuple[AskedFor, ...]
    cost: Cost
    models: tuple[ModelRow, ...]
    runs: tuple[RunRow, ...]
    layers: tuple[ModelLayer, ...]
    epochs: tuple[dict[str, float | str], ...]
    """Run by run, what every epoch measured; an epoch that was trained twice is here once."""

    @property
    def title(self) -> str:
        """Name and method."""
        return f"{self.name} ({self.mode})"


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
    problem, search, dense_macs = record.problem, experiment.search, record.problem.dense_macs
    runs = run_rows(record.runs.values(), receipts, dense_macs=dense_macs, link=link)
    models = model_rows(experiment, record, receipts, dense_macs=dense_macs, link=link)
    return SweepContents(
        name=experiment.name,
        sweep_id=experiment.sweep_id,
        mode=experiment.sparsity.mode,
        method=experiment.method,
        model=experiment.model.name,
        data=experiment.data.name,
        registered_model=experiment.model_name,
        epochs_per_run=experiment.training.epochs,
        tolerance=None if search.tolerance == "auto" else search.tolerance,
        dense_score=dense_score(read_state(record, experiment)),
        weights=problem.weights,
        dense_macs=dense_macs,
        targets=_targets(experiment, dense_macs),
        cost=cost_of(runs, models, epochs_per_run=experiment.training.epochs),
        models=models,
        runs=runs,
        layers=model_layers(record, receipts),
        epochs=_epochs(record),
    )


def _targets(experiment: Experiment, dense_macs: int) -> tuple[AskedFor, ...]:
    return tuple(
        AskedFor(name=str(target), quantity=target.quantity, pruned=target.pruned(dense_macs))
        for target in experiment.search.targets
    )


def _epochs(record: SweepRecord) -> tuple[dict[str, float | str], ...]:
    return tuple(
        {"run_id": run.run_id, **row.metrics}
        for run in record.runs.values()
        for _, row in sorted(run.epochs.items())
    )

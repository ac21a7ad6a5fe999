"""What a sweep handed over, and the table at the end of a job that shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from strsweep.config import Experiment
from strsweep.registry.receipt import Receipt
from strsweep.registry.registered_model import Alias
from strsweep.search.outcome import TargetOutcome
from strsweep.settings import Metric, percent
from strsweep.storage import storage_of

_WIDTH = 1000
"""The log of a submitted job is no terminal: rich would assume 80 columns, and wrap."""
_FAR_BELOW = 0.03
"""Share of the dense network's score, missing which something else is worth a try."""
_TEXT_COLUMNS = {"run", "registered as"}


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """One target, and what was registered for it."""

    outcome: TargetOutcome | None
    """None for a single run, which nobody aimed."""
    receipt: Receipt | None
    version: str | None
    """Of the registered model; None if MLflow could not be reached."""
    alias: Alias | None = None
    """Where the alias of the target points; None without a version or a target."""

    @property
    def asked(self) -> str:
        """The target as a person reads it."""
        return "-" if self.outcome is None else str(self.outcome.target)

    @property
    def missed(self) -> str:
        """Why there is no model, and what to change."""
        if self.outcome is None:
            return "the run failed: the journal has the reason"
        miss = self.outcome.miss
        far = "" if miss is None else f" by {abs(miss) * 100:.2f} points"
        return f"{self.asked} missed{far}: {self.outcome.advice}"


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """All targets of a sweep."""

    models: tuple[Delivered, ...]
    is_behind: bool
    """True if MLflow still lacks something that the journal has."""
    metric: Metric
    dense_score: float | None = None
    """Of the dense network of the same recipe; None if it was not trained."""
    page: str | None = None
    """Address of the MLflow page; None if there is no server, or it did not answer."""

    @property
    def is_complete(self) -> bool:
        """True if everything asked for was registered."""
        return not self.is_behind and all(model.version is not None for model in self.models)


def print_delivery(experiment: Experiment, delivery: Delivery) -> None:
    """Print the table, the targets that were missed, and where to look."""
    console = Console(width=_WIDTH, highlight=False)
    console.print(_table(experiment, delivery))
    console.print()
    for line in _notes(experiment, delivery):
        console.print(line, soft_wrap=True)


def _table(experiment: Experiment, delivery: Delivery) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"delivered ({experiment.method})",
        title_justify="left",
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )
    vs_dense = [] if delivery.dense_score is None else ["vs dense"]
    columns = ["target", "trained", "sparsity", delivery.metric.name, *vs_dense, "MACs", "of dense"]
    for column in (*columns, "run", "registered as"):
        table.add_column(column, justify="left" if column in _TEXT_COLUMNS else "right")
    for model in delivery.models:
        table.add_row(*_cells(experiment, model, delivery.dense_score))
    return table


def _cells(experiment: Experiment, model: Delivered, dense: float | None) -> list[str]:
    receipt = model.receipt
    if receipt is None:
        return [model.asked, "missed"]
    return [
        model.asked,
        receipt.trained_at,
        percent(receipt.sparsity, 2),
        receipt.score_text,
        *([] if dense is None else [receipt.metric.difference(receipt.score, dense)]),
        _short(receipt.macs),
        percent(receipt.macs / receipt.dense_macs, 1),
        receipt.run_id,
        _registered_as(experiment, model),
    ]


def _short(macs: int) -> str:
    """Return four digits of large numbers: receipts and cards have all of them."""
    if macs < 10**6:
        return f"{macs:,}"
    return f"{macs / 1e6:.4g} M" if macs < 10**9 else f"{macs / 1e9:.4g} G"


def _registered_as(experiment: Experiment, model: Delivered) -> str:
    if model.version is None:
        return "not yet"
    name = f"{experiment.model_name} v{model.version}"
    stays = model.alias is not None and model.alias.reason
    return name if model.outcome is None or stays else f"{name} @{model.outcome.target.label}"


def _notes(experiment: Experiment, delivery: Delivery) -> Iterator[str]:
    models, tracking = delivery.models, experiment.tracking
    if any(model.receipt is not None and model.receipt.landed is not None for model in models):
        yield (
            "Every model has exactly what its target asks for: thresholds are shifted after "
            "training."
        )
    yield from _beside_dense(experiment, delivery)
    for model in models:
        if model.receipt is None:
            yield model.missed
        elif model.alias is not None and model.alias.reason and model.receipt.target is not None:
            label, alias = model.receipt.target.label, model.alias
            yield f"@{label} stays at {experiment.model_name} v{alias.version}: {alias.reason}"
    if delivery.is_behind:
        yield (
            f"MLflow at {tracking.uri} lacks results that are safe in the "
            "sweep's storage: run jobs/publish.py with the same settings when it answers."
        )
    yield f"models, budgets and receipts: {storage_of(experiment).uri('models')}"
    show = f"mlflow ui --backend-store-uri {tracking.uri}  (in a clone: make ui)"
    look = delivery.page or (tracking.uri if tracking.is_server else show)
    yield f"MLflow experiment '{experiment.tracking_experiment}': {look}"


def _beside_dense(experiment: Experiment, delivery: Delivery) -> Iterator[str]:
    """Yield the score of the dense network, and what to try if some model is far below it."""
    metric, dense = delivery.metric, delivery.dense_score
    if dense is None:
        return
    yield f"dense network, same recipe: {metric.name} {metric.text(dense)}"
    far = [
        f"{receipt.target} is {metric.against(receipt.score, dense)}"
        for receipt in (model.receipt for model in delivery.models)
        if receipt is not None
        if metric.rank(receipt.score) < metric.rank(dense) - _FAR_BELOW * abs(dense)
    ]
    if far:
        other = "another sparsity.mode, or " if experiment.sparsity.needs_search else ""
        yield f"{', '.join(far)}: try {other}longer training (training.epochs)"

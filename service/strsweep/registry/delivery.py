"""What a sweep handed over, and the table at the end of a job that shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from strsweep.config import Experiment
from strsweep.packages.receipt import Receipt
from strsweep.registry.registered_model import Alias
from strsweep.report.rows import MISSED, TargetModel, model_rows
from strsweep.search.outcome import TargetOutcome
from strsweep.settings import Metric
from strsweep.storage import storage_of
from strsweep.table import Row, as_terminal, only

SHOWN = ("target", "state", "vs dense", "sparsity", "MACs", "MACs left", "run", "registered as")
"""Columns of the report that fit into a line, beside the score."""
_FAR_BELOW = 0.03
"""Share of the dense network's score, missing which something else is worth a try."""


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
    failure: str | None = None
    """Why its run, which ended well, cannot be packaged."""

    @property
    def asked(self) -> str:
        """The target as a person reads it."""
        return "-" if self.outcome is None else str(self.outcome.target)

    @property
    def missed(self) -> str:
        """Why there is no model, and what to change."""
        if self.failure is not None:
            return f"{self.asked} is not packaged: {self.failure}; submit the sweep again"
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
    rows = delivered_rows(experiment, delivery.models, delivery.metric, delivery.dense_score)
    print(as_terminal(only(rows, delivery.metric.name, *SHOWN), f"delivered ({experiment.method})"))
    print(*_notes(experiment, delivery), sep="\n", flush=True)


def delivered_rows(
    experiment: Experiment,
    models: Sequence[Delivered],
    metric: Metric,
    dense: float | None,
    link: Callable[[str], str] = lambda _: "",
) -> list[Row]:
    """Return one row per target, as in the report; ``link`` maps a version to its address."""
    shown = [
        TargetModel(
            target=model.outcome and model.outcome.target,
            receipt=model.receipt,
            registered_as=_registered_as(experiment, model),
            link=link(model.version) if model.version else "",
            missing=MISSED if model.failure is None else "not packaged",
        )
        for model in models
    ]
    return model_rows(shown, metric, dense)


def _registered_as(experiment: Experiment, model: Delivered) -> str:
    if model.version is None:
        return ""
    name = f"{experiment.model_name} v{model.version}"
    stays = model.alias is not None and model.alias.reason
    return name if model.outcome is None or stays else f"{name} @{model.outcome.target.label}"


def _notes(experiment: Experiment, delivery: Delivery) -> Iterator[str]:
    models, tracking = delivery.models, experiment.tracking
    landed = [m.receipt.landed for m in models if m.receipt is not None and m.receipt.landed]
    if any(before.rank_before for before in landed):
        yield "Targets between two ranks have the most that is not above: thresholds are shifted."
    elif landed:
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
            "sweep's storage: run `strsweep publish` with the same settings when it answers."
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

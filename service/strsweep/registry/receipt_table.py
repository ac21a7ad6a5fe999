"""The table at the end of a job: what was asked, what was delivered, how to look at it."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from strsweep.config import Experiment, percent
from strsweep.registry.delivery import Delivered, Delivery
from strsweep.registry.receipt import Receipt
from strsweep.storage import storage_of

_WIDTH = 110
"""The log of a submitted job is no terminal; rich would assume 80 columns and wrap."""
_FAR_BELOW = 0.03
"""Accuracy below that of the dense network at which something else is worth a try."""
_COLUMNS = (
    "target",
    "trained at",
    "sparsity",
    "accuracy",
    "below dense",
    "MACs",
    "of dense",
    "run",
    "registered as",
)


def print_delivery(experiment: Experiment, delivery: Delivery) -> None:
    """Print the table, the targets that were missed, and where to look."""
    console = Console(width=_WIDTH, highlight=False)
    table = Table(
        box=box.SIMPLE_HEAD, title=f"delivered ({experiment.method})", title_justify="left"
    )
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in _COLUMNS[-2:] else "right")
    for model in delivery.models:
        table.add_row(*_cells(experiment, model))
    console.print(table)
    for line in _notes(experiment, delivery):
        console.print(line, soft_wrap=True)


def _cells(experiment: Experiment, model: Delivered) -> tuple[str, ...]:
    target = "-" if model.outcome is None else str(model.outcome.target)
    receipt = model.receipt
    if receipt is None:
        return (target, "missed", *[""] * (len(_COLUMNS) - 2))
    return (
        target,
        _trained_at(receipt),
        percent(receipt.sparsity, 2),
        percent(receipt.accuracy, 2),
        receipt.below_dense.removesuffix(" below dense"),
        f"{receipt.macs:,}",
        percent(receipt.macs / receipt.dense_macs, 1),
        receipt.run_id,
        _registered_as(experiment, model),
    )


def _trained_at(receipt: Receipt) -> str:
    """Return where the run ended before it was landed, in what the target is measured in."""
    if receipt.landed is None:
        return ""
    if receipt.target is None or receipt.target.quantity == "sparsity":
        return percent(receipt.landed.sparsity_before, 2)
    return f"{percent(receipt.landed.macs_before / receipt.dense_macs, 2)} MACs"


def _registered_as(experiment: Experiment, model: Delivered) -> str:
    if model.version is None:
        return "not yet"
    name = f"{experiment.model_name} v{model.version}"
    has_alias = model.outcome is not None and not _stays(model)
    return f"{name} @{model.outcome.target.label}" if has_alias and model.outcome else name


def _stays(model: Delivered) -> bool:
    """Tell whether the alias of the target is with another version."""
    return model.alias is not None and bool(model.alias.reason)


def _notes(experiment: Experiment, delivery: Delivery) -> Iterator[str]:
    yield "Every model has exactly what its target asks for: thresholds are shifted after training."
    if delivery.dense_accuracy is not None:
        yield f"dense network, same recipe: accuracy {percent(delivery.dense_accuracy, 2)}"
        yield from _far_below(experiment, delivery.dense_accuracy, delivery)
    for model in delivery.models:
        if model.receipt is None:
            yield _missed(model)
        elif model.alias is not None and model.alias.reason and model.receipt.target is not None:
            label, alias = model.receipt.target.label, model.alias
            yield f"@{label} stays at {experiment.model_name} v{alias.version}: {alias.reason}"
    if delivery.is_behind:
        yield (
            f"MLflow at {experiment.tracking.uri} lacks results that are safe in the "
            "sweep's storage: run jobs/publish.py with the same settings when it answers."
        )
    yield f"models, budgets and receipts: {storage_of(experiment).uri('models')}"
    look = delivery.page or _how_to_look(experiment)
    yield f"MLflow experiment '{experiment.tracking_experiment}': {look}"


def _far_below(experiment: Experiment, dense: float, delivery: Delivery) -> Iterator[str]:
    """Yield what to try if some model is far less accurate than the dense network."""
    far = [
        str(model.receipt.target)
        for model in delivery.models
        if model.receipt is not None and model.receipt.accuracy < dense - _FAR_BELOW
    ]
    if far:
        other = "sparsity.mode=steered, or " if experiment.sparsity.mode == "str" else ""
        yield (
            f"more than {_FAR_BELOW * 100:g} points below dense: {', '.join(far)}; try {other}"
            "longer training (training.epochs)"
        )


def _missed(model: Delivered) -> str:
    state = model.outcome
    if state is None:
        return "the run failed: the journal has the reason"
    if state.miss is None:
        return f"{state.target} missed: {state.advice}"
    return f"{state.target} missed by {abs(state.miss) * 100:.2f} points: {state.advice}"


def _how_to_look(experiment: Experiment) -> str:
    uri = experiment.tracking.uri
    if experiment.tracking.is_server:
        return uri
    return f"mlflow ui --backend-store-uri {uri}  (in a clone: make ui)"

"""The table at the end of a job: what was asked, what was delivered, how to look at it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from strsweep.config import Experiment
from strsweep.registry.delivery import Delivered, Delivery
from strsweep.registry.receipt import Receipt
from strsweep.settings import Metric, percent
from strsweep.storage import storage_of

_WIDTH = 1000
"""The log of a submitted job is no terminal: rich would assume 80 columns, and wrap."""
_FAR_BELOW = 0.03
"""Share of the dense network's score, missing which something else is worth a try."""
_DENSE, _SCORE = "vs dense", "score"
"""``score`` stands for the name of the metric."""
_COLUMNS = (
    "target",
    "trained",
    "sparsity",
    _SCORE,
    _DENSE,
    "MACs",
    "of dense",
    "run",
    "registered as",
)
_TEXT_COLUMNS = {"run", "registered as"}


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
    has_dense = delivery.dense_score is not None
    columns = [column for column in _COLUMNS if has_dense or column != _DENSE]
    for column in columns:
        shown = delivery.metric.name if column == _SCORE else column
        table.add_column(shown, justify="left" if column in _TEXT_COLUMNS else "right")
    for model in delivery.models:
        cells = _cells(experiment, model, delivery.dense_score)
        table.add_row(*(cells.get(column, "") for column in columns))
    return table


def _cells(experiment: Experiment, model: Delivered, dense: float | None) -> dict[str, str]:
    target = "-" if model.outcome is None else str(model.outcome.target)
    receipt = model.receipt
    if receipt is None:
        return {"target": target, "trained": "missed"}
    return {
        "target": target,
        "trained": receipt.trained_at,
        "sparsity": percent(receipt.sparsity, 2),
        _SCORE: receipt.score_text,
        _DENSE: "" if dense is None else receipt.metric.difference(receipt.score, dense),
        "MACs": _short(receipt.macs),
        "of dense": percent(receipt.macs / receipt.dense_macs, 1),
        "run": receipt.run_id,
        "registered as": _registered_as(experiment, model),
    }


def _short(macs: int) -> str:
    """Return four digits of large numbers: receipts and cards have all of them."""
    if macs < 10**6:
        return f"{macs:,}"
    return f"{macs / 1e6:.4g} M" if macs < 10**9 else f"{macs / 1e9:.4g} G"


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
    receipts = [model.receipt for model in delivery.models if model.receipt is not None]
    if any(receipt.landed is not None for receipt in receipts):
        yield (
            "Every model has exactly what its target asks for: thresholds are shifted after "
            "training."
        )
    if delivery.dense_score is not None:
        yield from _beside_dense(experiment, delivery.metric, delivery.dense_score, receipts)
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


def _beside_dense(
    experiment: Experiment, metric: Metric, dense: float, receipts: Sequence[Receipt]
) -> Iterator[str]:
    """Yield the score of the dense network, and what to try if some model is far below it."""
    yield f"dense network, same recipe: {metric.name} {metric.text(dense)}"
    far = [
        f"{receipt.target} is {metric.against(receipt.score, dense)}"
        for receipt in receipts
        if metric.rank(receipt.score) < metric.rank(dense) - _FAR_BELOW * abs(dense)
    ]
    if far:
        other = "another sparsity.mode, or " if experiment.sparsity.needs_search else ""
        yield f"{', '.join(far)}: try {other}longer training (training.epochs)"


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

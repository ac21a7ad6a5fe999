"""What commands answer about models: as values for programs, and in lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strsweep.packages.export import Exports
    from strsweep.packages.finished_model import EvaluatedModel
    from strsweep.registry.delivery import Delivered, Delivery


def delivery_values(delivery: Delivery) -> dict[str, Any]:
    """Return what was delivered, one entry of ``models`` for each target."""
    return {
        "is_complete": delivery.is_complete,
        "metric": delivery.metric.name,
        "dense_score": delivery.dense_score,
        "page": delivery.page,
        "models": [_model_values(model) for model in delivery.models],
    }


def _model_values(model: Delivered) -> dict[str, Any]:
    kept = {"run_id", "sparsity", "zeros", "weights", "macs", "dense_macs", "score"}
    receipt = model.receipt
    more = {"missed": model.missed} if receipt is None else receipt.model_dump(include=kept)
    return {"target": model.asked, "version": model.version, **more}


def exports_values(exports: Exports) -> dict[str, Any]:
    """Return what was written of one model, by format, and what could not be."""
    return {
        "files": {form: file._asdict() for form, file in exports.files.items()},
        "dense_bytes": exports.dense_bytes,
        "failed": exports.failed,
    }


def evaluation_values(result: EvaluatedModel) -> dict[str, Any]:
    """Return what a model gives today, beside what its receipt says."""
    receipt, metrics = result.receipt, result.metrics
    counted = {"zeros": result.zeros, "sparsity": result.zeros / receipt.weights}
    return {**metrics, **counted, "receipt": receipt.model_dump(mode="json")}


def print_evaluation(result: EvaluatedModel) -> None:
    """Print the same in three lines, and a fourth if the zeros are not those of the receipt."""
    from strsweep.settings import percent

    receipt, metric = result.receipt, result.receipt.metric
    score = metric.text(metric.of(result.metrics))
    print(f"{metric.name:<9} {score}  (receipt {receipt.score_text})")
    print(f"sparsity  {percent(result.zeros / receipt.weights, 2)}  {result.zeros:,} zeros")
    print(f"MACs      {receipt.macs:,}  of {receipt.dense_macs:,}")
    if result.zeros != receipt.zeros:
        print(f"the receipt says {receipt.zeros:,} zeros: this is not the file it was made for")

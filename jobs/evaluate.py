"""Evaluate a registered or saved model on its data, and count its zeros again.

python jobs/evaluate.py --model models:/digits@sparsity-95
"""

from __future__ import annotations

import typer

from strsweep.cli import (
    FAILED,
    DataOption,
    ModelOption,
    UriOption,
    exit_codes,
    tracking_uri_of,
)
from strsweep.progress import doing
from strsweep.settings import percent


def main(model: ModelOption, tracking_uri: UriOption = None, data_path: DataOption = None) -> None:
    """Print score, sparsity and MACs of a model beside what its receipt says.

    Exit code 0: the zeros are those of the receipt; 1: they are not; 2: the input is wrong.
    """
    with exit_codes(), doing(f"evaluating {model}"):
        from strsweep.registry import evaluate_model

        result = evaluate_model(model, tracking_uri_of(tracking_uri), data_path)
        receipt, evaluation = result.receipt, result.evaluation
        metric = receipt.metric
        score = metric.text(metric.of(evaluation.metrics))
        print(f"{metric.name:<9} {score}  (receipt {receipt.score_text})")
        print(f"sparsity  {percent(result.zeros / receipt.weights, 2)}  {result.zeros:,} zeros")
        print(f"MACs      {receipt.macs:,}  of {receipt.dense_macs:,}")
        if result.zeros != receipt.zeros:
            print(f"the receipt says {receipt.zeros:,} zeros: this is not the file it was made for")
            raise typer.Exit(FAILED)


if __name__ == "__main__":
    typer.run(main)

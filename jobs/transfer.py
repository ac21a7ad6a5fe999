r"""Train with the layer budget of a finished model: does the budget alone make it good?

ray job submit --working-dir . -- python jobs/transfer.py --config jobs/configs/digits.yaml \
    --budget models:/digits@sparsity-95 --method gmp --set search.weight_decay=5e-4
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from strsweep.cli import ConfigOption, SetOption, exit_codes, train_and_register
from strsweep.config import load_budget_experiment


class Method(Enum):
    """Trainers that obey a budget."""

    GMP = "gmp"
    DNW = "dnw"


BudgetOption = Annotated[
    str,
    typer.Option(
        "--budget",
        help="models:/NAME@ALIAS, a model folder, a budget as .json or .csv, or TABLE.csv#90.23 "
        "for a column of the authors' table.",
    ),
]
MethodOption = Annotated[
    Method, typer.Option("--method", help="Gradual magnitude pruning, or DNW (straight-through).")
]


def main(
    config: ConfigOption,
    budget: BudgetOption,
    method: MethodOption = Method.GMP,
    overrides: SetOption = None,
) -> None:
    """Train one network that keeps in every layer what the budget says (tables 4 and 5).

    Exit code 0: the model is registered; 1: it is not; 2: the input is wrong.
    """
    with exit_codes():
        # First without the densities: only the file says where MLflow is.
        uri = load_budget_experiment(config, overrides or [], method.value, {}).tracking.uri
        from strsweep.registry import read_budget

        densities = read_budget(budget, uri).densities
        experiment = load_budget_experiment(config, overrides or [], method.value, densities)
        raise typer.Exit(train_and_register(experiment, is_sweep=False))


if __name__ == "__main__":
    typer.run(main)

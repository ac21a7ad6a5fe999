"""Hit every target sparsity: search, train, register.

ray job submit --working-dir . -- python jobs/sweep.py --config jobs/configs/digits.yaml
"""

from __future__ import annotations

import typer

from strsweep.cli import ConfigOption, SetOption, exit_codes, train_and_register
from strsweep.config import load_experiment


def main(config: ConfigOption, overrides: SetOption = None) -> None:
    """Train sparse models at the targets of the experiment and register them in MLflow.

    The same command again continues: finished runs are kept, open ones go on.
    Exit code 0: every target is registered; 1: something is missing; 2: the input is wrong.
    """
    with exit_codes():
        experiment = load_experiment(config, overrides or [])
        raise typer.Exit(train_and_register(experiment, is_sweep=True))


if __name__ == "__main__":
    typer.run(main)

r"""Train one sparse model with settings that are known: no search.

ray job submit --working-dir . -- python jobs/train.py --config jobs/configs/digits.yaml \
    --set search.weight_decay=0.012
"""

from __future__ import annotations

import typer

from strsweep.cli import ConfigOption, SetOption, exit_codes, train_and_register
from strsweep.config import load_experiment


def main(config: ConfigOption, overrides: SetOption = None) -> None:
    """Train one run with a fixed threshold init and weight decay, and register what it gives.

    Exit code 0: the model is registered; 1: it is not; 2: the input is wrong.
    """
    with exit_codes():
        experiment = load_experiment(config, overrides or [])
        raise typer.Exit(train_and_register(experiment, is_sweep=False))


if __name__ == "__main__":
    typer.run(main)

"""Hit every target sparsity: search, train, register.

ray job submit --working-dir . -- python jobs/sweep.py --config jobs/configs/digits.yaml
"""

from __future__ import annotations

import typer

from strsweep.cli import DELIVERED, FAILED, ConfigOption, SetOption, exit_codes
from strsweep.config import load_experiment


def main(config: ConfigOption, overrides: SetOption = None) -> None:
    """Train sparse models at the targets of the experiment and register them in MLflow.

    The same command again continues: finished runs are kept, open ones go on.
    Exit code 0: every target is registered; 1: something is missing; 2: the input is wrong.
    """
    with exit_codes():
        experiment = load_experiment(config, overrides or [])
        # torch, then Ray and MLflow: each takes seconds to import, so a wrong input is told first.
        from strsweep import preflight

        experiment, problem = preflight.check_sweep(experiment)
        from strsweep.registry import Tracking, print_delivery, publish_sweep
        from strsweep.sweep.cluster import connected
        from strsweep.sweep.run import run_sweep

        with connected(), Tracking(experiment) as tracking:
            record = run_sweep(experiment, problem)
        delivery = publish_sweep(experiment, record, tracking)
        print_delivery(experiment, delivery)
        raise typer.Exit(DELIVERED if delivery.is_complete else FAILED)


if __name__ == "__main__":
    typer.run(main)

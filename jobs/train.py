r"""Train one sparse model with settings that are known: no search.

ray job submit --working-dir . -- python jobs/train.py --config jobs/configs/digits.yaml \\
    --set search.weight_decay=0.012
"""

from __future__ import annotations

import typer

from strsweep.cli import DELIVERED, FAILED, ConfigOption, SetOption, exit_codes
from strsweep.config import load_experiment


def main(config: ConfigOption, overrides: SetOption = None) -> None:
    """Train one run with a fixed threshold init and weight decay, and register what it gives.

    Exit code 0: the model is registered; 1: it is not; 2: the input is wrong.
    """
    with exit_codes():
        experiment = load_experiment(config, overrides or [])
        # torch, then Ray and MLflow: each takes seconds to import, so a wrong input is told first.
        from strsweep import preflight

        preflight.check_run(experiment)
        from strsweep.registry import Tracking, print_delivery, publish_single
        from strsweep.sweep.cluster import connected
        from strsweep.sweep.run import run_single

        with connected(), Tracking(experiment) as tracking:
            record = run_single(experiment)
        delivery = publish_single(experiment, record, tracking)
        print_delivery(experiment, delivery)
        raise typer.Exit(DELIVERED if delivery.is_complete else FAILED)


if __name__ == "__main__":
    typer.run(main)

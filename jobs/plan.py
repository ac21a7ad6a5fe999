"""Tell what a sweep would do and cost, before anything runs.

python jobs/plan.py --config my.yaml --minutes-per-epoch 12
"""

from __future__ import annotations

from typing import Annotated

import typer

from strsweep.cli import ConfigOption, SetOption, exit_codes
from strsweep.config import load_experiment
from strsweep.progress import doing

MinutesOption = Annotated[
    float | None,
    typer.Option(
        "--minutes-per-epoch", min=0, help="Of one run on its workers; by default it is timed here."
    ),
]
SlotsOption = Annotated[
    int, typer.Option("--slots", min=1, help="Runs that the cluster holds at once.")
]


def main(
    config: ConfigOption,
    overrides: SetOption = None,
    minutes_per_epoch: MinutesOption = None,
    slots: SlotsOption = 1,
) -> None:
    """Check the experiment and print first runs, epochs and hours; nothing is trained.

    Exit code 0: the sweep can be started; 2: the input is wrong.
    """
    with exit_codes(), doing("checking model and data, and timing a few steps"):
        experiment = load_experiment(config, overrides or [])
        from strsweep import preflight

        experiment, problem = preflight.check_sweep(experiment)
        from strsweep.plan import first_settings, plan_of, print_plan
        from strsweep.search.space import space_of
        from strsweep.training.problem import seconds_per_epoch

        if minutes_per_epoch is None:
            first = first_settings(experiment, problem, space_of(experiment, problem))
            seconds = seconds_per_epoch(experiment, first[0])
        else:
            seconds = 60 * minutes_per_epoch
        print_plan(plan_of(experiment, problem, slots=slots, seconds_per_epoch=seconds))


if __name__ == "__main__":
    typer.run(main)

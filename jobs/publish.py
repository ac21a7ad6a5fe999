"""Deliver to MLflow what an earlier job could not; nothing is trained, and no Ray is needed.

python jobs/publish.py --config jobs/configs/digits.yaml
"""

from __future__ import annotations

import typer

from strsweep.cli import DELIVERED, FAILED, ConfigOption, SetOption, exit_codes
from strsweep.config import load_experiment
from strsweep.progress import doing


def main(config: ConfigOption, overrides: SetOption = None) -> None:
    """Bring MLflow up to the journal of a sweep and register its models, from its storage alone.

    The data is needed only for a model whose files no job has written yet. What is there already is
    found and left alone, so it can be run at any time and as often as you like.
    Exit code 0: every target is registered; 1: something is missing; 2: the input is wrong.
    """
    with exit_codes(), doing("registering what the journal has and MLflow lacks"):
        experiment = load_experiment(config, overrides or [])
        from strsweep import registry

        delivery = registry.publish_journal(experiment)
        registry.print_delivery(experiment, delivery)
        raise typer.Exit(DELIVERED if delivery.is_complete else FAILED)


if __name__ == "__main__":
    typer.run(main)

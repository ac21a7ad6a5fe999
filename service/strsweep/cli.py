"""What the jobs share on the command line: options, exit codes and messages."""

from __future__ import annotations

import os
import sys
from ast import literal_eval
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from strsweep.config import Experiment, TrackingConfig
from strsweep.errors import InvalidExperimentError, SettingError, StrsweepError

ConfigOption = Annotated[
    Path,
    typer.Option("--config", help="The experiment: a YAML file such as jobs/configs/digits.yaml."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="SECTION.KEY=VALUE",
        help="Override a setting, e.g. --set training.epochs=10. Can be repeated.",
    ),
]
ModelOption = Annotated[
    str,
    typer.Option("--model", help="models:/NAME@ALIAS, models:/NAME/VERSION, or a model folder."),
]
UriOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        help="MLflow server; by default $MLFLOW_TRACKING_URI, or the results folder's database.",
    ),
]
DataOption = Annotated[
    Path | None, typer.Option("--data-path", help="Folder of the data, if it moved since training.")
]

DELIVERED, FAILED, WRONG_INPUT = 0, 1, 2


@contextmanager
def exit_codes() -> Generator[None]:
    """Turn errors into the exit codes of the jobs: 2 for a wrong input, 1 for anything else.

    Errors that are ours are told in one message; others keep their traceback, which somebody needs.
    """
    # Ray reads this when it is imported. Many small runs start many processes; that is no news.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", "worker processes have been started on")
    try:
        yield
    except (SettingError, InvalidExperimentError) as error:
        print(f"wrong input: {error}", file=sys.stderr, flush=True)
        raise typer.Exit(WRONG_INPUT) from None
    except StrsweepError as error:
        print(f"failed: {error}", file=sys.stderr, flush=True)
        raise typer.Exit(FAILED) from None


def tracking_uri_of(option: str | None) -> str:
    """Return where models are registered: the option, MLflow's variable, or the results folder.

    Raises:
        SettingError: It is no address that MLflow can be asked at.
    """
    uri = option or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        return TrackingConfig().uri
    try:
        return TrackingConfig(uri=uri).uri
    except SettingError as error:
        name = "--tracking-uri" if option else "MLFLOW_TRACKING_URI"
        raise SettingError(name, literal_eval(error.value), error.remedy) from None


def train_and_register(experiment: Experiment, *, is_sweep: bool) -> int:
    """Train what ``experiment`` describes and register what it gives; returns the exit code.

    Args:
        experiment: As it was loaded.
        is_sweep: Search until every target is hit, or else train the one run with fixed settings.

    Raises:
        StrsweepError: The input is wrong, or the runs failed.
    """
    # torch, then Ray, then MLflow: each takes seconds to import, so a wrong input is told first.
    from strsweep import preflight

    check = preflight.check_sweep if is_sweep else preflight.check_run
    experiment, problem = check(experiment)
    from strsweep.sweep.cluster import connected
    from strsweep.sweep.run import held_sweep, run_single, run_sweep

    train = run_sweep if is_sweep else run_single
    with connected(), held_sweep(experiment) as lanes:
        from strsweep import registry

        with registry.Tracking(experiment) as tracking:
            record = train(experiment, problem, lanes)
    publish = registry.publish_sweep if is_sweep else registry.publish_single
    delivery = publish(experiment, record, tracking)
    registry.print_delivery(experiment, delivery)
    return DELIVERED if delivery.is_complete else FAILED

"""What the jobs share on the command line: options, exit codes and messages."""

from __future__ import annotations

import os
import signal
import sys
from ast import literal_eval
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from strsweep.config import Experiment, TrackingConfig
from strsweep.errors import InvalidExperimentError, SettingError, StrsweepError
from strsweep.progress import say

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


@contextmanager
def stops_in_order(interrupt: Callable[[], None]) -> Generator[None]:
    """Let ``ray job stop`` and Ctrl-C end the job with a line that says how to continue.

    Args:
        interrupt: Shows elsewhere that nothing is under way any more; Ray gives it three seconds.
    """

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # the next one does not wait
        say("stopped: the same command continues from the newest checkpoints")
        interrupt()
        os._exit(FAILED)  # Ray ends all that this job has started

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    before = [(number, signal.signal(number, stop)) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


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
    from strsweep.api import trained_and_registered

    delivery = trained_and_registered(experiment, is_sweep=is_sweep, guard=stops_in_order)
    from strsweep import registry

    registry.print_delivery(experiment, delivery)
    return DELIVERED if delivery.is_complete else FAILED

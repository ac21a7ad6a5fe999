"""How a command ends: its exit code, its answer as JSON, and a line that says how to continue."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any

import typer

from strsweep.errors import InvalidExperimentError, SettingError, StrsweepError
from strsweep.progress import say

DELIVERED, FAILED, WRONG_INPUT = 0, 1, 2
Answer = Callable[[Mapping[str, Any], Callable[[], None]], None]
"""Takes the answer of a command as values, and what prints it for a person."""


@contextmanager
def exit_codes() -> Generator[None]:
    """Turn errors into exit codes: 2 for a wrong input, 1 for anything else.

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
def answering(*, as_json: bool) -> Generator[Answer]:
    """Do as ``exit_codes``; as JSON, stdout gets one object, and stderr whatever else is said."""
    out = sys.stdout

    def answer(values: Mapping[str, Any], show: Callable[[], None]) -> None:
        if as_json:
            print(json.dumps(values, default=str), file=out, flush=True)
        else:
            show()

    with redirect_stdout(sys.stderr) if as_json else nullcontext(), exit_codes():
        yield answer


@contextmanager
def stops_in_order(interrupt: Callable[[], None]) -> Generator[None]:
    """Let ``ray job stop`` and Ctrl-C end the job with a line that says how to continue.

    Args:
        interrupt: Shows elsewhere that nothing is under way any more; Ray gives it three seconds.
    """

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # the next one does not wait
        say("stopped: the same command continues from the newest checkpoints")
        try:
            interrupt()
        finally:
            os._exit(FAILED)  # Ray ends all that this job has started

    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    before = [(number, signal.signal(number, stop)) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)

"""A job that is stopped, at any time from training to registering, ends in order."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
from commands import ran
from samples import load

from strsweep import api, preflight, registry
from strsweep.cluster import connection, run

STOPPED = """
import os, signal, sys, time
from strsweep.cli import stops_in_order
def interrupt():
    if sys.argv[1] == "fails":
        raise RuntimeError("the server is away")
    print("shown")
with stops_in_order(interrupt):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
"""


@pytest.mark.parametrize(("interrupt", "said"), [("works", ["shown"]), ("fails", [])])
def test_a_stopped_job_says_how_to_continue_and_exits_with_1(
    interrupt: str, said: list[str]
) -> None:
    done = ran([sys.executable, "-u", "-c", STOPPED, interrupt], timeout=600)
    first = "stopped: the same command continues from the newest checkpoints"
    assert (done.returncode, done.stdout.splitlines()) == (1, [first, *said])


def test_registering_is_guarded_like_training(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def held(name: str) -> Callable[..., Any]:
        @contextmanager
        def hold(*_: object) -> Generator[Tracking]:
            steps.append(f"{name} begins")
            try:
                yield Tracking()
            finally:
                steps.append(f"{name} ends")

        return hold

    class Tracking:
        def interrupt(self) -> None: ...

    def step(name: str) -> Callable[..., Any]:
        return lambda *_: steps.append(name)

    monkeypatch.setattr(preflight, "check_sweep", lambda experiment: (experiment, None))
    monkeypatch.setattr(connection, "connected", held("ray"))
    monkeypatch.setattr(run, "held_sweep", held("lanes"))
    monkeypatch.setattr(registry, "Tracking", held("tracking"))
    monkeypatch.setattr(run, "run_sweep", step("train"))
    monkeypatch.setattr(registry, "publish_sweep", step("register"))
    api.trained_and_registered(load(), is_sweep=True, guard=held("guard"))
    assert steps == [
        "guard begins",  # before anything else is done
        "ray begins",
        "guard begins",  # as Ray takes the signals for itself
        *(f"{name} begins" for name in ("lanes", "tracking", "guard")),
        "train",
        *(f"{name} ends" for name in ("tracking", "lanes", "ray")),
        "register",
        *["guard ends"] * 3,
    ]

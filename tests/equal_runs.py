"""Training runs of digits, and their equality to the last bit in all the next epoch depends on."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from samples import load

from strsweep.settings import RunSettings
from strsweep.training.checkpoints import State, copied
from strsweep.training.run import TrainingRun


def new_run(settings: RunSettings, *overrides: str) -> TrainingRun:
    """Return a run of the experiment of digits with ``overrides``."""
    return TrainingRun(load(*overrides), settings, device=torch.device("cpu"))


@cache
def states(settings: RunSettings, *overrides: str) -> list[State]:
    """Return what an uninterrupted run is after every epoch."""
    run = new_run(settings, *overrides)
    return [copied(run.state()) for _ in run.epochs()]


def assert_same_state(actual: Any, expected: Any) -> None:
    """Compare states of runs entry by entry; only how long an epoch took may differ."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(actual, expected)
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key in expected.keys() - {"seconds"}:
            assert_same_state(actual[key], expected[key])
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same_state(one, other)
    else:
        assert actual == expected

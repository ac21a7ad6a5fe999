"""Status lines read as a person expects."""

from __future__ import annotations

import pytest

from strsweep.config import RunSettings, Target
from strsweep.sweep.outcome import TargetOutcome
from strsweep.sweep.state import FinishedRun
from strsweep.sweep.status import clock, describe, describe_target

RUN = FinishedRun(run_id="run-004", position=0.5, sparsity=0.89876, accuracy=0.97)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00"),
        (59.99, "00:59"),
        (60, "01:00"),
        (3599, "59:59"),
        (3600, "1:00:00"),
        (3661.5, "1:01:01"),
        (360000, "100:00:00"),
    ],
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_describe_names_the_settings_there_are() -> None:
    learned = RunSettings(weight_decay=0.00979796, threshold_init=-10.0)
    assert describe(learned) == "weight decay 0.0098, threshold init -10"
    assert describe(RunSettings(weight_decay=1e-4, sparsity=0.9)) == "weight decay 0.0001"


@pytest.mark.parametrize(
    ("run", "closest", "text"),
    [
        (RUN, RUN, "  90 %  hit   run-004  sparsity 89.88 %  accuracy 97.00 %"),
        (None, RUN, "  90 %  open  closest 89.88 % (run-004)"),
        (None, None, "  90 %  open"),
    ],
)
def test_describe_target(run: FinishedRun | None, closest: FinishedRun | None, text: str) -> None:
    target = Target(sparsity=0.9)
    miss = None if closest is None else closest.sparsity - 0.9
    state = TargetOutcome(target=target, run=run, closest=closest, miss=miss, advice="")
    assert describe_target(state) == text

"""What is asked for, and the limits that forbid another run."""

from __future__ import annotations

import pytest
from planted_sweeps import PROBLEM, begun, digits, ended, shared_start, sparsities, state_of

from strsweep.errors import SettingError
from strsweep.search.goal import Goal, Usage
from strsweep.search.runs import Status
from strsweep.settings import Fork, RunSettings

FORKED = RunSettings(
    threshold_init=-10,
    weight_decay=5e-4,
    threshold_decay=0.02,
    onset=10,
    fork=Fork(folder="runs/run-001/epoch_00010", epoch=10),
)
WHOLE = RunSettings(threshold_init=-10, weight_decay=0.02)


def test_the_goal_is_what_the_file_asks_for() -> None:
    asked = ("search.max_epochs=400", "search.max_hours=2", "search.refine=3")
    experiment = digits(*asked, "search.baseline=true")
    goal = Goal.of(experiment, PROBLEM)
    assert goal == Goal(
        search=experiment.search, dense_macs=452_224, epochs=30, metric=PROBLEM.metric
    )
    assert goal.targets == sparsities(0.8, 0.9, 0.95, 0.98)


def test_a_target_above_the_dense_network_is_refused() -> None:
    experiment = digits("search.targets=[{macs: 452224}]")
    with pytest.raises(SettingError, match="has 452,224 multiply-adds: ask for fewer"):
        Goal.of(experiment, PROBLEM)


@pytest.mark.parametrize(
    ("limits", "usage", "promised", "needed", "told"),
    [
        ((), Usage(runs=39, epochs=10**6, hours=1e6), 30, 30, None),
        ((), Usage(runs=40), 0, 30, "search.max_runs (40) is spent"),
        (("search.max_epochs=100",), Usage(runs=3, epochs=50), 20, 30, None),
        (
            ("search.max_epochs=100",),
            Usage(runs=3, epochs=50),
            21,
            30,
            "search.max_epochs (100) leaves no room for another run",
        ),
        (("search.max_epochs=100",), Usage(runs=3, epochs=50), 30, 20, None),
        (("search.max_hours=2",), Usage(runs=3, hours=1.999), 0, 30, None),
        (("search.max_hours=2",), Usage(runs=3, hours=2.0), 0, 30, "search.max_hours (2) is over"),
        (("search.max_hours=2",), Usage(runs=40, hours=3), 0, 30, "search.max_runs (40) is spent"),
    ],
)
def test_limits_by_hand(
    limits: tuple[str, ...], usage: Usage, promised: int, needed: int, told: str | None
) -> None:
    exceeded = Goal.of(digits(*limits), PROBLEM).exceeded(usage, promised, needed)
    assert (None if exceeded is None else str(exceeded)) == told


def test_epochs_that_runs_under_way_still_need() -> None:
    experiment = digits()
    runs = (
        begun(shared_start(experiment), 4),  # of 10
        begun(shared_start(experiment, is_whole=True), 4),  # of 30
        begun(ended(2, FORKED, 0.9)),  # begins at 10
        begun(ended(3, FORKED, 0.9), 25),
        begun(ended(4, WHOLE, 0.9)),
        begun(ended(5, WHOLE, 0.9), 12, status=Status.PAUSED),  # this job does not train it
        ended(6, WHOLE, 0.9),
    )
    state = state_of(experiment, *runs)
    assert state.promised == 6 + 26 + 20 + 5 + 30
    assert state.epochs_left(FORKED) == 20
    assert state.epochs_left(WHOLE) == 30

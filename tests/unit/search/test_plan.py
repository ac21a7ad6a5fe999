"""A plan tells first settings and cost, by hand."""

from __future__ import annotations

import pytest
from planted_sweeps import GMP, PROBLEM, SHARED_RANGE, STEERED, digits, state_of

from strsweep.config import Problem
from strsweep.plan import Plan, plan_of, print_plan
from strsweep.search.space import space_of

ONE = ("search.targets=[0.9]",)
LONG_EPOCHS = PROBLEM.model_copy(update={"steps_per_epoch": 100})


def plan(
    *overrides: str, slots: int = 2, seconds: float = 120.0, problem: Problem = PROBLEM
) -> Plan:
    return plan_of(digits(*overrides), problem, slots=slots, seconds_per_epoch=seconds)


@pytest.mark.parametrize(
    ("overrides", "runs", "epochs"),
    [
        ((), (4, 4.8), (10 + 80, 10 + 96)),  # the shared start, and 20 epochs a run
        (("search.baseline=true",), (4, 4.8), (30 + 80, 30 + 96)),
        (("search.share_prefix=false",), (4, 4.8), (120, 144)),
        (("search.led=false",), (4, 8), (90, 170)),
        (SHARED_RANGE, (4, 8), (120, 240)),
        (STEERED, (4, 4), (120, 120)),
        ((*GMP, "search.baseline=true"), (4, 4), (150, 150)),
        ((*STEERED, "search.refine=3"), (4, 4), (120, 120)),
        (("search.refine=3",), (7, 7.8), (150, 166)),
        (("search.max_runs=6", "search.refine=9"), (6, 6), (130, 130)),
        (("search.max_epochs=100",), (4, 4.8), (90, 100)),
        (("search.max_epochs=50",), (4, 4.8), (50, 50)),
        ((*ONE,), (1, 1.2), (30, 34)),
    ],
)
def test_runs_and_epochs_by_hand(
    overrides: tuple[str, ...], runs: tuple[float, float], epochs: tuple[int, int]
) -> None:
    known = plan(*overrides)
    assert known.runs == pytest.approx(runs)
    assert known.epochs == epochs
    experiment = digits(*overrides)
    space, nothing = space_of(experiment, PROBLEM), state_of(experiment)
    assert known.first == tuple(
        space.settings(target, nothing) for target in experiment.search.targets
    )


@pytest.mark.parametrize(
    ("overrides", "slots", "epochs"),
    [
        ((), 1, (90, 106)),
        ((), 2, (45, 53)),
        ((), 4, (30, 30)),  # no less than one run takes
        (SHARED_RANGE, 4, (30, 60)),
        (SHARED_RANGE, 8, (30, 60)),  # more slots than targets save nothing
        (ONE, 8, (30, 34)),
    ],
)
def test_hours_by_hand(overrides: tuple[str, ...], slots: int, epochs: tuple[float, float]) -> None:
    hours = tuple(count * 120 / 3600 for count in epochs)
    assert plan(*overrides, slots=slots).hours == pytest.approx(hours)


def printed(known: Plan, capsys: pytest.CaptureFixture[str]) -> list[str]:
    print_plan(known)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def test_it_prints_first_settings_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    known = plan(seconds=2.0)
    lines = printed(known, capsys)
    assert lines[0] == (
        f"{known.experiment.sweep_id}: 69,904 weights, 452,224 multiply-adds an input, "
        "30 epochs of 11 steps"
    )
    assert lines[1] == "data: digits"
    assert lines[2] == "score: accuracy, higher is better"
    assert lines[3] == "method: str, own threshold decay, led to the target"
    rows = [line.split() for line in lines]
    for settings, share in zip(known.first, (80, 90, 95, 98), strict=True):
        decay = f"{settings.threshold_decay:.3g}"
        assert [str(share), "%", "-7.65", "0.0005", decay] in rows
    assert lines[-3:] == [
        "The first 10 epochs are the same for all runs and trained once.",
        "expected: 4 to 4.8 runs for 4 targets, 90 to 106 epochs",
        "an epoch takes 2 s: 2 minutes, 2 runs at a time",
    ]


def test_targets_of_both_kinds_stand_in_columns_of_their_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = printed(plan(*STEERED, "search.targets=[0.9, {macs: 0.05}]"), capsys)
    rows = [line.split() for line in lines]
    assert ["90", "%", "0.0001", "0.9"] in rows
    assert ["5", "%", "MACs", "0.0001", "0.05"] in rows
    (header,) = [line for line in lines if "weight decay" in line]
    (sparse,) = [line for line in lines if "90 %" in line]
    (lean,) = [line for line in lines if "5 % MACs" in line]
    assert header.index("macs") > len(sparse)
    assert len(lean) == header.index("macs") + len("macs")
    assert not [line for line in lines if line.startswith("The first")]


ALONE = (*ONE, *STEERED)
SHORT, LONG = (*ONE, "training.epochs=3"), (*SHARED_RANGE, "training.epochs=4000")


@pytest.mark.parametrize(
    ("overrides", "slots", "seconds", "told"),
    [
        ((*ALONE, "training.epochs=1"), 1, 50.0, "1 target, 1 epoch | 50 s: 1 minute, 1 run"),
        (SHORT, 1, 20.0, "1 target, 3 to 4 epochs | 20 s: 1 to 2 minutes, 1 run"),
        (ALONE, 1, 120.0, "1 target, 30 epochs | 120 s: 1 hour, 1 run"),
        ((), 4, 3600.0, "4 targets, 90 to 106 epochs | 3,600 s: 30 hours, 4 runs"),
        (
            LONG,
            1,
            0.123456,
            "4 targets, 16,000 to 32,000 epochs | 0.123 s: 0.5 to 1.1 hours, 1 run",
        ),
    ],
)
def test_numbers_read_as_a_person_writes_them(
    overrides: tuple[str, ...],
    slots: int,
    seconds: float,
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    planned = plan(*overrides, slots=slots, seconds=seconds, problem=LONG_EPOCHS)
    lines, (cost, time) = printed(planned, capsys), told.split(" | ")
    runs: dict[tuple[str, ...], str] = {
        ALONE: "1 run",
        SHORT: "1 to 1.2 runs",
        LONG: "4 to 8 runs",
        (): "4 to 4.8 runs",
    }
    expected = f"expected: {runs.get(overrides, '1 run')} for {cost}"
    assert lines[-2:] == [expected, f"an epoch takes {time} at a time"]
    same = "The first epoch is the same for all runs and trained once."
    assert (same in lines) == (planned.shared == 1)

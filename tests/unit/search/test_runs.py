"""The state of a search is read from the journal's record, each run once."""

from __future__ import annotations

import pytest
from planted_sweeps import clock_by_hand, digits
from samples import LATE, NINETY, PROBLEM, finished, proposed, started
from samples import epoch as bare_epoch

from strsweep.journal import (
    Event,
    PrefixTrained,
    RunFailed,
    RunStopped,
    SweepRecord,
    replay,
)
from strsweep.journal.record import add
from strsweep.search.runs import DIED, NO_RESULT, Run, StateReader, Status, read_state
from strsweep.settings import Fork, RunSettings, Target

EXPERIMENT = digits()
EARLY = RunSettings(threshold_init=-10, weight_decay=0.02)
FIRST = proposed(target=NINETY)


def epoch(number: int, decay: float = 0.02, *, run: int = 1, sparsity: float = 0.5) -> Event:
    pruned = {"sparsity": sparsity, "macs": 0.4 * PROBLEM.dense_macs, "threshold_decay": decay}
    return bare_epoch(number, f"run-{run:03d}", accuracy=0.9, **pruned)


def record_of(*events: Event) -> SweepRecord:
    return replay([started(), *events])


def only_run(*events: Event, running: bool = False) -> Run:
    reader = StateReader(EXPERIMENT, PROBLEM)
    (run,) = reader.state(record_of(*events), {"run-001"} if running else set()).runs
    return run


@pytest.mark.parametrize(
    ("event", "running", "status"),
    [
        (None, True, Status.RUNNING),
        (None, False, Status.PAUSED),
        (finished(), False, Status.FINISHED),
        (finished(), True, Status.FINISHED),  # Tune still winds it down
        (RunStopped(run_id="run-001", epoch=15, reason=""), True, Status.STOPPED),
        (RunFailed(run_id="run-001", reason="it diverged"), True, Status.FAILED),
    ],
)
def test_statuses(event: Event | None, running: bool, status: Status) -> None:
    run = only_run(FIRST, epoch(11), *([] if event is None else [event]), running=running)
    assert run.status is status
    assert (run.epoch, run.sparsity, run.score) == (11, 0.5, 0.9)
    assert run.macs_pruned == pytest.approx(0.6)
    assert run.pruned("sparsity") == 0.5
    assert run.pruned("macs") == run.macs_pruned


def test_a_run_without_an_epoch_has_pruned_nothing() -> None:
    run = only_run(FIRST)
    assert (run.epoch, run.sparsity, run.macs_pruned, run.decayed) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("reason", "again"), [(DIED, True), (NO_RESULT, True), ("the loss became nan", False)]
)
def test_only_failures_of_machines_are_repeatable(reason: str, again: bool) -> None:
    assert only_run(FIRST, RunFailed(run_id="run-001", reason=reason)).is_repeatable is again


@pytest.mark.parametrize(("settings", "onset"), [(LATE, 10), (EARLY, 0)])
def test_decay_adds_up_over_the_epochs_that_thresholds_act_in(
    settings: RunSettings, onset: int
) -> None:
    decays = {number: 1e-3 * number for number in range(1, 31)}
    run = only_run(
        proposed(target=NINETY, settings=settings),
        *(epoch(number, 0.0 if number <= onset else decay) for number, decay in decays.items()),
    )
    by_hand = sum(decays[e] * clock_by_hand(e, onset) for e in range(onset + 1, 31))
    assert run.decayed == pytest.approx(by_hand)


def test_a_fork_has_only_its_own_epochs_and_one_trained_again_counts_once() -> None:
    fork = LATE.model_copy(update={"fork": Fork(folder="runs/run-001/epoch_00010", epoch=10)})
    events = [proposed(settings=fork), epoch(11), epoch(12), epoch(12, sparsity=0.6)]
    run = only_run(*events)
    assert run.decayed == pytest.approx(0.02 * (clock_by_hand(11, 10) + clock_by_hand(12, 10)))
    assert (run.epoch, run.sparsity) == (12, 0.6)
    state = StateReader(EXPERIMENT, PROBLEM).state(record_of(*events))
    assert state.usage.epochs == 3, "it was trained again, all the same"


def test_a_run_is_read_again_only_when_it_changed() -> None:
    reader = StateReader(EXPERIMENT, PROBLEM)
    dense = LATE.model_copy(update={"is_dense": True})
    record = record_of(proposed(settings=dense), proposed("run-002"), epoch(11), epoch(11, run=2))

    def read(running: frozenset[str] = frozenset()) -> tuple[Run, ...]:
        return reader.state(record, running).runs

    first = read()
    assert all(old is new for old, new in zip(first, read(), strict=True))
    changes: list[Event] = [
        epoch(12, sparsity=0.6),
        PrefixTrained(run_id="run-001", epoch=10, checkpoint="runs/run-001/epoch_00010"),
        finished(),
    ]
    for event in changes:
        before = read()
        add([event], record)
        after = read()
        assert after[0] != before[0]
        assert after[1] is before[1] is first[1]
    assert read()[0].prefix == "runs/run-001/epoch_00010"
    assert read(frozenset({"run-002"}))[1].status is Status.RUNNING


def test_targets_are_open_until_a_finished_run_is_in_their_window() -> None:
    def ends(number: int, sparsity: float, *last: Event) -> list[Event]:
        return [proposed(f"run-{number:03d}"), epoch(30, run=number, sparsity=sparsity), *last]

    state = StateReader(EXPERIMENT, PROBLEM).state(
        record_of(*ends(1, 0.9, finished()), *ends(2, 0.8), *ends(3, 0.97, finished("run-003")))
    )
    assert [str(target) for target in state.open_targets] == ["80 %", "95 %", "98 %"]
    assert [run.run_id for run in state.hits(NINETY)] == ["run-001"]
    assert [run.run_id for run in state.finished] == ["run-001", "run-003"]


def test_the_dense_network_serves_no_target() -> None:
    dense = LATE.model_copy(update={"is_dense": True})
    experiment = digits("search.targets=[0.05]")  # landing could take 5 % of it
    record = record_of(proposed(settings=dense), epoch(30, 0.0, sparsity=0.0), finished())
    state = StateReader(experiment, PROBLEM).state(record)
    assert state.finished == []
    assert state.open_targets == [Target(sparsity=0.05)]


def test_hours_are_those_of_the_last_job() -> None:
    runs = [
        *(proposed(time=0), finished(time=3600)),
        *(proposed("run-002", time=0), finished("run-002", time=12_600)),
    ]
    first, second = started(time=0), started(time=9000)
    assert read_state(replay([first, *runs[:2]]), EXPERIMENT).usage.hours == 1
    assert read_state(replay([first, *runs, second]), EXPERIMENT).usage.hours == 1
    idle = replay([first, *runs[:2], second])  # it trained nothing
    assert read_state(idle, EXPERIMENT).usage.hours == 0

"""Replaying a journal gives one record, however often and in whatever order it was written."""

from __future__ import annotations

import dataclasses

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strsweep.config import Correction, Problem, RunSettings, Target
from strsweep.journal import (
    EpochFinished,
    Event,
    ImagesUnreadable,
    ModelLanded,
    ModelPublished,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunProposed,
    RunResumed,
    RunStopped,
    SweepRecord,
    SweepStarted,
    replay,
)

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A shared machine may be slow; that is no failure."""

SETTINGS = RunSettings(threshold_init=-10, weight_decay=1e-4)
RUN_IDS = ("run-001", "run-002", "run-003")
EIGHTY, NINETY = Target(sparsity=0.8), Target(sparsity=0.9)
FEW_MACS = Target(macs=0.05)
STARTED = SweepStarted(time=0.0, experiment={}, version="0")


def proposed(run_id: str, time: float = 1.0) -> RunProposed:
    return RunProposed(time=time, run_id=run_id, settings=SETTINGS, target=NINETY, reason="")


def epoch(run_id: str, number: int, time: float = 2.0) -> EpochFinished:
    return EpochFinished(time=time, run_id=run_id, metrics={"epoch": number})


def finished(run_id: str, time: float = 3.0) -> RunFinished:
    return RunFinished(time=time, run_id=run_id, metrics={}, layers=(), checkpoint="c")


def failed(run_id: str, time: float = 3.0) -> RunFailed:
    return RunFailed(time=time, run_id=run_id, reason="died")


def unreadable(run_id: str, names: tuple[str, ...], time: float = 2.0) -> ImagesUnreadable:
    return ImagesUnreadable(time=time, run_id=run_id, names=names)


def published(target: Target | None, run_id: str, version: str) -> ModelPublished:
    return ModelPublished(
        time=4.0, target=target, run_id=run_id, folder="f", model_uri="u", version=version
    )


def stopped(run_id: str, epoch: int = 1, time: float = 2.5) -> RunStopped:
    return RunStopped(time=time, run_id=run_id, epoch=epoch, reason="would miss")


def interrupted(run_id: str, time: float = 2.2) -> RunInterrupted:
    return RunInterrupted(time=time, run_id=run_id, reason="worker 1: timed out")


def resumed(run_id: str, target: Target | None = FEW_MACS, time: float = 2.7) -> RunResumed:
    return RunResumed(time=time, run_id=run_id, target=target, reason="may hit")


def landed(target: Target, run_id: str, shift: float) -> ModelLanded:
    return ModelLanded(
        time=3.5,
        target=target,
        run_id=run_id,
        checkpoint="c",
        metrics={},
        layers=(),
        shift=shift,
    )


def costless(record: SweepRecord) -> SweepRecord:
    """Return the record without what the runs cost."""
    runs = {
        run_id: dataclasses.replace(run, num_epochs_written=0)
        for run_id, run in record.runs.items()
    }
    return dataclasses.replace(record, runs=runs)


ids = st.sampled_from(RUN_IDS)
any_event = st.one_of(
    ids.map(proposed),
    st.builds(epoch, ids, st.integers(1, 4)),
    ids.map(finished),
    ids.map(failed),
    ids.map(stopped),
    ids.map(interrupted),
    st.builds(resumed, ids, st.sampled_from([None, NINETY, FEW_MACS])),
    st.builds(landed, st.sampled_from([NINETY, FEW_MACS]), ids, st.sampled_from([0.5, 1.0])),
    st.builds(unreadable, ids, st.lists(st.sampled_from("abc"), max_size=2).map(tuple)),
    st.builds(published, st.sampled_from([None, NINETY, FEW_MACS]), ids, st.sampled_from("12")),
)
histories = st.lists(any_event, max_size=25).map(lambda events: [STARTED, *events])


@unhurried
@given(histories)
def test_replaying_twice_changes_nothing_but_the_cost(events: list[Event]) -> None:
    assert costless(replay(events + events)) == costless(replay(events))


@unhurried
@given(histories)
def test_repeated_epochs_change_nothing_but_the_cost(events: list[Event]) -> None:
    repeated = [e for event in events for e in [event] * (1 + isinstance(event, EpochFinished))]
    once, twice = replay(events), replay(repeated)
    assert costless(once) == costless(twice)
    for run_id, run in once.runs.items():
        assert twice.runs[run_id].num_epochs_trained == 2 * run.num_epochs_trained
        assert len(run.epochs) <= run.num_epochs_trained


@unhurried
@given(histories)
def test_a_proposal_can_stand_anywhere(events: list[Event]) -> None:
    proposals = [event for event in events if isinstance(event, RunProposed)]
    others = [event for event in events if not isinstance(event, RunProposed)]
    assert replay(others + proposals) == replay(proposals + others) == replay(events)


def test_a_run_is_told_from_its_events() -> None:
    events = [STARTED, proposed("run-001"), epoch("run-001", 1), epoch("run-001", 2)]
    record = replay([*events, epoch("run-001", 2, time=9.0)])
    run = record.runs["run-001"]
    assert record.started == [STARTED]
    assert run.run_id == "run-001"
    assert run.is_open
    assert list(run.epochs) == [1, 2]
    assert run.epochs[2].time == 9.0
    assert run.num_epochs_trained == 3
    assert record.finished_runs == []


def test_finished_and_failed_runs_are_closed() -> None:
    record = replay([
        *map(proposed, RUN_IDS),
        failed("run-002"),
        finished("run-003"),
        finished("run-001"),
    ])
    assert [run.is_open for run in record.runs.values()] == [False, False, False]
    assert [run.run_id for run in record.finished_runs] == ["run-001", "run-003"]


def test_epoch_before_its_proposal_by_clock_skew_counts() -> None:
    events: list[Event] = [epoch("run-001", 1, time=0.5), proposed("run-001", time=1.0)]
    assert replay(events).runs["run-001"].num_epochs_trained == 1


def test_orphans_are_left_out() -> None:
    record = replay([epoch("run-009", 1), finished("run-009"), failed("run-009")])
    assert record.runs == {}
    assert record.next_run_id == "run-010"  # whoever got run-009 would get its epochs, too


def test_first_proposal_of_a_run_counts() -> None:
    again = RunProposed(
        time=5.0, run_id="run-001", settings=SETTINGS, target=EIGHTY, reason="again"
    )
    assert replay([proposed("run-001"), again]).runs["run-001"].proposed.target == NINETY


def test_newest_publication_of_a_target_counts() -> None:
    old, new = published(NINETY, "run-001", "1"), published(NINETY, "run-002", "2")
    single = published(None, "run-001", "3")
    assert replay([old, single, new]).published == {NINETY: new, None: single}


def test_next_run_id_counts_every_proposed_run() -> None:
    assert replay([]).next_run_id == "run-001"
    assert replay([*map(proposed, RUN_IDS), failed("run-003")]).next_run_id == "run-004"
    many = [proposed(f"run-{number:03d}") for number in range(1, 1000)]
    assert replay(many).next_run_id == "run-1000"


def test_an_image_that_cannot_be_read_is_known_once() -> None:
    # A run that continues from a checkpoint tells again what it told before.
    told = [unreadable("run-001", names) for names in (("a", "b"), ("b",), ("c", "a"))]
    record = replay([
        *told,
        proposed("run-001"),
        proposed("run-002"),
        unreadable("run-003", ("d",)),
    ])
    assert record.runs["run-001"].unreadable == ["a", "b", "c"]
    assert record.runs["run-002"].unreadable == []
    assert record.runs["run-001"].is_open


def test_an_interrupted_run_is_open_and_every_interruption_is_known() -> None:
    told = [interrupted("run-001", time) for time in (2.2, 2.3)]
    run = replay([proposed("run-001"), *told, *told, epoch("run-001", 1)]).runs["run-001"]
    assert run.is_open
    assert run.interruptions == told


def test_a_stopped_run_rests_until_it_is_resumed() -> None:
    events: list[Event] = [proposed("run-001"), epoch("run-001", 1), stopped("run-001")]
    run = replay(events).runs["run-001"]
    assert not run.is_open
    assert (run.stopped, run.target) == (events[2], NINETY)
    assert replay(events).finished_runs == []

    goes_on = [*events, resumed("run-001")]
    run = replay(goes_on).runs["run-001"]
    assert run.is_open
    assert (run.stopped, run.resumed, run.target) == (None, goes_on[3], FEW_MACS)

    again = [*goes_on, epoch("run-001", 2), stopped("run-001", 2)]
    run = replay(again).runs["run-001"]
    assert not run.is_open
    assert run.stopped is not None
    assert (run.stopped.epoch, run.target) == (2, FEW_MACS)

    ended = replay([*goes_on, finished("run-001")])
    assert [run.run_id for run in ended.finished_runs] == ["run-001"]
    assert not ended.runs["run-001"].is_open


def test_a_run_resumed_for_no_target_aims_at_none() -> None:
    events = [proposed("run-001"), stopped("run-001"), resumed("run-001", None)]
    assert replay(events).runs["run-001"].target is None


def test_adopted_epochs_cost_nothing() -> None:
    adopted = proposed("run-001").model_copy(update={"adopted_from": "other/run-007"})
    events = [epoch("run-001", 1), epoch("run-001", 2), adopted, proposed("run-002")]
    record = replay([*events, epoch("run-002", 1), epoch("run-002", 1)])
    assert [run.num_epochs_trained for run in record.runs.values()] == [0, 2]
    assert record.runs["run-001"].num_epochs_written == 2
    assert record.epochs_trained == 2


def test_a_model_is_landed_per_target_and_run_and_the_newest_counts() -> None:
    old, new = landed(NINETY, "run-001", 0.5), landed(NINETY, "run-001", 1.0)
    others = [landed(NINETY, "run-002", 0.1), landed(FEW_MACS, "run-001", 0.2)]
    record = replay([*map(proposed, RUN_IDS), old, *others, new])
    assert record.landed == {
        (NINETY, "run-001"): new,
        (NINETY, "run-002"): others[0],
        (FEW_MACS, "run-001"): others[1],
    }


def test_the_problem_is_that_of_the_newest_start() -> None:
    assert replay([]).problem is replay([STARTED]).problem is None
    problem = Problem(steps_per_epoch=11, weights=100, dense_macs=200, weight_scale=0.1)
    newer = STARTED.model_copy(update={"time": 9.0, "problem": problem})
    assert replay([STARTED, newer]).problem == problem


def test_a_correction_takes_back_what_was_trained_after_it() -> None:
    """Rows may come in any order: clocks of nodes differ, and a worker may run on for a while."""

    def row(number: int, decay: float) -> EpochFinished:
        metrics = {"epoch": number, "weight_decay": decay, "sparsity": decay}
        return EpochFinished(time=2.0, run_id="run-001", metrics=metrics)

    def end(decay: float) -> RunFinished:
        metrics = {"epoch": 4, "weight_decay": decay}
        return RunFinished(time=3, run_id="run-001", metrics=metrics, layers=(), checkpoint="c")

    old = [row(number, 1e-4) for number in (1, 2, 3, 4)]
    new = [row(number, 3e-4) for number in (3, 4)]
    correction = Correction(after_epoch=2, weight_decay=3e-4)
    change = resumed("run-001").model_copy(update={"correction": correction})
    begun = [STARTED, proposed("run-001"), *old[:3], stopped("run-001", 2)]
    run = replay([*begun, change]).runs["run-001"]
    assert sorted(run.epochs) == [1, 2]
    assert run.settings.weight_decay_in(2) == 1e-4
    assert run.settings.weight_decay_in(3) == 3e-4
    for late in ([old[3], end(1e-4)], [end(1e-4), old[3], new[0]]):
        run = replay([*begun, change, *late]).runs["run-001"]
        assert run.finished is None, "that was the end of what was taken back"
    for events in ([*begun, change, *new, end(3e-4)], [*begun, *new, end(3e-4), change]):
        run = replay(events).runs["run-001"]
        assert run.finished == end(3e-4)
        assert [run.epochs[n].metrics["weight_decay"] for n in (1, 2, 3, 4)] == [
            1e-4,
            1e-4,
            3e-4,
            3e-4,
        ]
    assert run.num_epochs_written == 5, "what was taken back was paid for"
    assert run.settings.changes == "0.0003 after epoch 2"

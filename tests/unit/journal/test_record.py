"""Replaying a journal gives one record, however often and in whatever order it was written."""

from __future__ import annotations

import dataclasses

import samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import LEAN as FEW_MACS
from samples import NINETY, PROBLEM, epoch, finished, proposed, started

from strsweep.journal import (
    EpochFinished,
    Event,
    ImagesUnreadable,
    ModelLanded,
    ModelPublished,
    PrefixTrained,
    RunFailed,
    RunInterrupted,
    RunProposed,
    RunStopped,
    SweepRecord,
    replay,
)
from strsweep.settings import Target

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A shared machine may be slow; that is no failure."""

RUN_IDS = ("run-001", "run-002", "run-003")
STARTED = started(time=0.0)


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


def prefix(run_id: str, epoch: int = 1, time: float = 2.7) -> PrefixTrained:
    return PrefixTrained(time=time, run_id=run_id, epoch=epoch, checkpoint=f"epoch_{epoch}")


def landed(target: Target, run_id: str, shift: float) -> ModelLanded:
    return samples.landed(target, run_id).model_copy(update={"shift": shift})


def costless(record: SweepRecord) -> SweepRecord:
    """Return the record without what the runs cost."""
    runs = {
        run_id: dataclasses.replace(run, num_epochs_trained=0)
        for run_id, run in record.runs.items()
    }
    return dataclasses.replace(record, runs=runs)


ids = st.sampled_from(RUN_IDS)
any_event = st.one_of(
    ids.map(proposed),
    st.builds(epoch, st.integers(1, 4), ids),
    ids.map(finished),
    ids.map(failed),
    ids.map(stopped),
    ids.map(interrupted),
    st.builds(prefix, ids, st.integers(1, 2)),
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
    again = epoch(2)
    record = replay([STARTED, proposed(), epoch(1), epoch(2), again])
    run = record.runs["run-001"]
    assert record.started == [STARTED]
    assert run.run_id == "run-001"
    assert run.is_open
    assert list(run.epochs) == [1, 2]
    assert run.epochs[2] is again
    assert run.num_epochs_trained == 3
    assert record.finished_runs == []


def test_finished_and_failed_runs_are_closed() -> None:
    record = replay([
        *map(proposed, RUN_IDS),
        failed("run-002"),
        finished("run-003"),
        finished(),
    ])
    assert [run.is_open for run in record.runs.values()] == [False, False, False]
    assert [run.run_id for run in record.finished_runs] == ["run-001", "run-003"]


def test_orphans_are_left_out() -> None:
    record = replay([epoch(1, "run-009"), finished("run-009"), failed("run-009")])
    assert record.runs == {}
    assert record.next_run_id == "run-010"  # whoever got run-009 would get its epochs, too


def test_first_proposal_of_a_run_counts() -> None:
    first, again = proposed(target=NINETY), proposed(target=FEW_MACS)
    assert replay([first, again]).runs["run-001"].proposed is first


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
        proposed(),
        proposed("run-002"),
        unreadable("run-003", ("d",)),
    ])
    assert record.runs["run-001"].unreadable == ["a", "b", "c"]
    assert record.runs["run-002"].unreadable == []
    assert record.runs["run-001"].is_open


def test_an_interrupted_run_is_open_and_every_interruption_is_known() -> None:
    told = [interrupted("run-001", time) for time in (2.2, 2.3)]
    run = replay([proposed(), *told, *told, epoch(1)]).runs["run-001"]
    assert run.is_open
    assert run.interruptions == told


def test_a_stopped_run_has_ended_for_good() -> None:
    events: list[Event] = [proposed(target=NINETY), epoch(1), stopped("run-001")]
    record = replay([*events, epoch(2), interrupted("run-001")])
    run = record.runs["run-001"]
    assert not run.is_open
    assert (run.stopped, run.target) == (events[2], NINETY)
    assert sorted(run.epochs) == [1, 2], "a worker may still write what it had trained"
    assert record.finished_runs == []


def test_the_start_that_others_share_is_known_from_when_it_is_stored() -> None:
    events = [proposed(), epoch(1)]
    assert replay(events).runs["run-001"].prefix is None
    run = replay([*events, prefix("run-001")]).runs["run-001"]
    assert run.is_open, "the dense network may train on"
    assert (run.prefix, run.num_epochs_trained) == (prefix("run-001"), 1)
    again = prefix("run-001", time=9.0)  # of a worker that was killed before its next checkpoint
    record = replay([*events, prefix("run-001"), again, finished()])
    assert record.runs["run-001"].prefix == again
    assert not record.runs["run-001"].is_open


def test_a_forked_run_pays_for_its_own_epochs_only() -> None:
    events = [proposed(), *(epoch(n) for n in (1, 2)), proposed("run-002")]
    record = replay([*events, epoch(3, "run-002"), epoch(4, "run-002")])
    assert sorted(record.runs["run-002"].epochs) == [3, 4]
    assert record.epochs_trained == 4


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
    assert replay([]).problem is None
    assert replay([STARTED]).problem == PROBLEM
    other = PROBLEM.model_copy(update={"steps_per_epoch": 12})
    newer = STARTED.model_copy(update={"time": 9.0, "problem": other})
    assert replay([STARTED, newer]).problem == other

"""The desk alone, without Ray: who gets which work, who waits for whom, what is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar

import pytest

from strsweep.settings import RunSettings
from strsweep.training import desk as module
from strsweep.training.desk import Desk, Ticket, Told, Train

T = TypeVar("T")
LANE, OTHER = "lane-1", "lane-2"


def awaited(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test that awaits; one that waits for ever fails."""

    @wraps(test)
    def run(**arguments: Any) -> None:
        asyncio.run(asyncio.wait_for(test(**arguments), 10))

    return run


def work(number: int) -> Train:
    return Train(f"run-{number:03d}", RunSettings(weight_decay=1e-4))


async def laid(*numbers: int, slots: int = 9) -> Desk:
    desk = Desk("job")
    for number in numbers:
        await desk.lay(work(number), slots)
    return desk


async def taken(desk: Desk, lane: str = LANE) -> Ticket:
    ticket = await desk.take(lane, 0.0)
    assert isinstance(ticket, Ticket)
    return ticket


def begun(waiting: Awaitable[T]) -> asyncio.Task[T]:
    return asyncio.ensure_future(waiting)


async def is_waiting(task: asyncio.Task[Any]) -> bool:
    await asyncio.sleep(0.02)
    return not task.done()


@awaited
async def test_work_is_taken_in_its_order_by_whoever_asks_first() -> None:
    desk = await laid(1, 2, 3)
    assert await desk.owner() == "job"
    assert [(await taken(desk, lane)).work for lane in (OTHER, LANE)] == [work(1), work(2)]
    assert (await taken(desk, OTHER)).work == work(1), "a lane that asks again has not finished"


@awaited
async def test_a_lane_that_waits_gets_what_is_laid_down_later() -> None:
    desk = Desk("job")
    asking = begun(desk.take(LANE, 0.0))
    assert await is_waiting(asking)
    await desk.lay(work(1), 1)
    ticket = await asking
    assert isinstance(ticket, Ticket)
    assert ticket.work == work(1)


@awaited
async def test_lanes_are_missing_for_what_is_not_over_as_far_as_there_are_slots() -> None:
    desk = Desk("job")
    assert await desk.lay(work(1), 2) == 1
    await desk.open(LANE)
    assert await desk.lay(work(1), 2) == 0, "it lies there already"
    assert await desk.lay(work(2), 2) == 1
    await desk.open(OTHER)
    assert await desk.lay(work(3), 2) == 0, "the cluster holds two"
    await desk.end(await taken(desk))
    await desk.leave(work(2))
    assert await desk.lay(work(4), 3) == 0
    assert await desk.lay(work(5), 3) == 1


@awaited
async def test_a_run_goes_on_when_its_epoch_was_read() -> None:
    desk = await laid(1)
    ticket = await taken(desk)
    reporting = begun(desk.report(ticket, {"epoch": 3.0}))
    told = await desk.follow(work(1), 0)
    assert told == Told(1, metrics={"epoch": 3.0})
    assert await is_waiting(reporting)
    following = begun(desk.follow(work(1), told.number))
    assert await reporting
    assert await is_waiting(following)
    await desk.end(ticket)
    assert await following == Told(2, is_over=True)
    assert await desk.follow(work(1), 1) == Told(2, is_over=True), "told as often as it is asked"


@awaited
async def test_an_epoch_that_was_not_taken_note_of_is_told_again() -> None:
    desk = await laid(1)
    reporting = begun(desk.report(await taken(desk), {"epoch": 1.0}))
    first = await desk.follow(work(1), 0)
    assert await desk.follow(work(1), 0) == first, "the process that had asked died"
    assert await is_waiting(reporting)


@awaited
async def test_a_run_that_is_left_ends_where_it_is_and_its_lane_is_free() -> None:
    desk = await laid(1, 2)
    reporting = begun(desk.report(await taken(desk), {"epoch": 1.0}))
    assert await is_waiting(reporting)
    await desk.leave(work(1))
    assert not await reporting
    assert (await taken(desk)).work == work(2)
    assert (await desk.follow(work(1), 1)).is_over


@awaited
async def test_a_lane_ends_after_it_was_idle_and_is_then_missing_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_PATIENCE_S", 0.01)
    desk = Desk("job")
    await desk.open(LANE)
    assert await desk.take(LANE, 59.0) is True
    assert await desk.take(LANE, 61.0) is False
    assert await desk.lay(work(1), 1) == 1


@pytest.mark.parametrize("late", [TimeoutError, type("OlderTimeoutError", (Exception,), {})])
@awaited
async def test_a_lane_asks_again_whichever_class_the_timeouts_of_asyncio_have(
    monkeypatch: pytest.MonkeyPatch, late: type[Exception]
) -> None:
    def out_of_time(waiting: Coroutine[Any, Any, bool], seconds: float | None) -> None:
        waiting.close()
        raise late(f"after {seconds} s")

    desk = Desk("job")
    monkeypatch.setattr(asyncio, "TimeoutError", late)
    monkeypatch.setattr(asyncio, "wait_for", out_of_time)
    assert await desk.take(LANE, 0.0) is True


@awaited
async def test_a_closed_desk_ends_runs_and_lanes() -> None:
    desk = await laid(1)
    reporting = begun(desk.report(await taken(desk), {"epoch": 1.0}))
    idle = begun(desk.take(OTHER, 0.0))
    assert await is_waiting(idle)
    await desk.close()
    assert not await reporting
    assert [await idle, await desk.take(LANE, 0.0)] == [False, False]
    assert not await desk.shut(LANE)


@awaited
async def test_what_a_lost_lane_was_at_goes_to_the_next_that_asks() -> None:
    desk = await laid(1)
    old = await taken(desk)
    assert await desk.lost(LANE, "died") == work(1)
    new = await taken(desk, OTHER)
    assert new.work == work(1)
    assert not await desk.report(old, {"epoch": 9.0}), "it was not dead after all"
    await desk.end(old, failure="of old")
    reporting = begun(desk.report(new, {"epoch": 1.0}))
    assert (await desk.follow(work(1), 0)).metrics == {"epoch": 1.0}
    assert await is_waiting(reporting)


@awaited
async def test_work_that_lanes_die_of_is_given_up_and_the_lane_goes_on() -> None:
    desk = await laid(1, 2)
    for loss in range(4):
        assert (await taken(desk)).work == work(1)
        assert await desk.lost(LANE, f"death {loss}") == work(1)
    told = await desk.follow(work(1), 0)
    assert told.is_over
    assert told.failure == "its processes ended 4 times, at last with: death 3"
    assert (await taken(desk)).work == work(2)


@awaited
async def test_lanes_that_die_before_they_ask_do_so_for_a_while_only() -> None:
    desk = await laid(1)
    await desk.open(LANE)
    losses = 0
    while await desk.shut(LANE):
        await desk.lost(LANE, "cannot start")
        losses += 1
    assert losses == 4
    assert (await desk.follow(work(1), 0)).failure is not None
    assert await desk.lost(LANE, "again") is None
    assert await desk.lay(work(2), 1) == 1, "another lane may do better"


@awaited
async def test_a_desk_that_forgot_everything_learns_it_from_those_who_ask() -> None:
    before = await laid(1)
    old = await taken(before)
    desk = Desk("job")  # Ray started it anew
    assert not await desk.report(old, {"epoch": 4.0}), "the lane looks for work"
    asking, following = begun(desk.take(LANE, 0.0)), begun(desk.follow(work(1), 7))
    ticket = await asking
    assert isinstance(ticket, Ticket)
    assert ticket.work == work(1)
    reporting = begun(desk.report(ticket, {"epoch": 4.0}))
    assert await is_waiting(reporting)
    assert (await following).metrics == {"epoch": 4.0}

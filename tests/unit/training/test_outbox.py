"""What is put into the outbox is delivered in order, in the background, and nothing twice."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strsweep.errors import StorageError
from strsweep.training.writer import Outbox


@given(st.lists(st.booleans(), max_size=30))
def test_all_is_delivered_in_order_but_what_was_replaced(kinds: list[bool]) -> None:
    made: list[int] = []
    is_open = threading.Event()
    with Outbox() as outbox:
        outbox.put(waiting(is_open))
        for number, replaceable in enumerate(kinds):
            outbox.put(delivery(made, number), replaceable=replaceable)
        is_open.set()
    newest = max((n for n, replaceable in enumerate(kinds) if replaceable), default=None)
    assert made == [n for n, replaceable in enumerate(kinds) if not replaceable or n == newest]


def waiting(is_open: threading.Event) -> Callable[[], None]:
    def wait() -> None:
        is_open.wait()

    return wait


def delivery(made: list[int], number: int) -> Callable[[], None]:
    return lambda: made.append(number)


def test_nobody_waits_for_a_slow_delivery() -> None:
    is_open = threading.Event()
    with Outbox() as outbox:
        outbox.put(waiting(is_open))
        outbox.put(lambda: None)
        assert not is_open.is_set()
        is_open.set()


def fail() -> None:
    raise StorageError("away for good")


def test_a_failure_is_raised_at_the_end() -> None:
    with pytest.raises(StorageError, match="away for good"), Outbox() as outbox:
        outbox.put(fail)


def test_a_failure_is_raised_by_the_next_put() -> None:
    failed = threading.Event()

    def put_until_refused(outbox: Outbox) -> None:
        outbox.tell = lambda _: failed.set()
        outbox.put(fail)
        failed.wait()  # it is told before anything more is put
        while True:
            outbox.put(lambda: None)

    with pytest.raises(StorageError, match="away for good"), Outbox() as outbox:
        put_until_refused(outbox)


def test_after_an_error_of_the_run_nothing_more_is_delivered() -> None:
    made: list[int] = []
    is_open = threading.Event()

    def fail_while_it_waits(outbox: Outbox) -> None:
        outbox.put(waiting(is_open))
        outbox.put(delivery(made, 1))
        threading.Timer(0.2, is_open.set).start()
        raise ValueError("of the run")

    with pytest.raises(ValueError, match="of the run"), Outbox() as outbox:
        fail_while_it_waits(outbox)
    assert made == []


def test_what_is_delivered_is_kept_no_longer() -> None:
    class State:
        """What a checkpoint holds."""

    state, is_done = State(), threading.Event()
    kept = weakref.ref(state)
    with Outbox() as outbox:
        outbox.put(partial(lambda _: is_done.set(), state), replaceable=True)
        del state
        assert is_done.wait(10)
        outbox.put(is_done.clear)
        while is_done.is_set():
            time.sleep(0.001)
        assert kept() is None

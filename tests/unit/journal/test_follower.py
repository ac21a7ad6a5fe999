"""A follower knows at every moment what reading the whole journal anew would tell."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from itertools import chain, count
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st
from samples import finished, proposed, started

from strsweep.journal import (
    EpochFinished,
    Event,
    Follower,
    ImagesUnreadable,
    Journal,
    PrefixTrained,
    RunFailed,
    RunStopped,
    SweepRecord,
    replay,
)
from strsweep.storage import Store, store_at

RUN_IDS = ("run-001", "run-002", "run-003")
BY_THE_JOB = ("proposed", "stopped", "failed", "started")
BY_THE_WORKER = ("epoch", "unreadable", "prefix", "finished")
written = st.tuples(
    st.sampled_from(RUN_IDS),
    st.sampled_from(BY_THE_JOB + BY_THE_WORKER),
    st.integers(1, 3),
    st.booleans(),
)
"""Of which run, what, a number for it, and whether somebody looks afterwards."""


def event_of(run_id: str, kind: str, number: int, time: float) -> Event:
    events: dict[str, Event] = {
        "started": started(time=time, version=str(number)),
        "proposed": proposed(run_id, reason=str(number), time=time),
        "epoch": EpochFinished(time=time, run_id=run_id, metrics={"epoch": number}),
        "unreadable": ImagesUnreadable(time=time, run_id=run_id, names=(f"{number}.jpg",)),
        "finished": finished(run_id, time=time),
        "stopped": RunStopped(time=time, run_id=run_id, epoch=number, reason="would miss"),
        "prefix": PrefixTrained(time=time, run_id=run_id, epoch=number, checkpoint="c"),
        "failed": RunFailed(time=time, run_id=run_id, reason="died"),
    }
    return events[kind]


def read_anew(storage: Store) -> SweepRecord:
    """Return what the files tell, of which a run may be told before its proposal."""
    return replay(chain.from_iterable(Journal(storage).files().values()))


@given(st.lists(written, max_size=25))
def test_following_equals_reading_anew(steps: list[tuple[str, str, int, bool]]) -> None:
    with TemporaryDirectory() as folder:
        storage = store_at(folder)
        job, follower = Journal(storage), Follower(Journal(storage))
        workers = {run_id: Journal(storage, writer=run_id) for run_id in RUN_IDS}
        clock = count(1.0)
        job.append(event_of("", "started", 0, 0.0))
        for run_id, kind, number, looks in [*steps, ("run-001", "epoch", 1, True)]:
            writer = job if kind in BY_THE_JOB else workers[run_id]
            writer.append(event_of(run_id, kind, number, next(clock)))
            if looks:
                anew = read_anew(storage)
                assert follower.record() == anew
                assert list(follower.record().runs) == list(anew.runs)


@given(st.lists(written, max_size=25), st.randoms())
def test_nothing_follows_from_clocks(
    steps: list[tuple[str, str, int, bool]], clocks: random.Random
) -> None:
    def told(clock: Iterator[float]) -> str:
        with TemporaryDirectory() as folder:
            storage = store_at(folder)
            Journal(storage).append(event_of("", "started", 0, next(clock)))
            for run_id, kind, number, _ in steps:
                writer = "sweep" if kind in BY_THE_JOB else run_id
                Journal(storage, writer).append(event_of(run_id, kind, number, next(clock)))
            return re.sub(r"time=[\d.]+", "", repr(read_anew(storage)))

    assert told(map(float, clocks.sample(range(100), 30))) == told(count(1.0))

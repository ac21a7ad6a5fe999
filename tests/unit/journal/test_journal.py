"""Every event is read back as it was written, whatever a crash left in the files."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from samples import LEAN as FEW_MACS
from samples import NINETY, PROBLEM

from strsweep.errors import JournalError
from strsweep.journal import (
    EpochFinished,
    Event,
    ImagesUnreadable,
    Journal,
    LayerRow,
    ModelLanded,
    ModelPublished,
    PrefixTrained,
    RunFailed,
    RunFinished,
    RunInterrupted,
    RunProposed,
    RunStopped,
    SweepStarted,
    replay,
)
from strsweep.settings import Fork, Lead, RunSettings
from strsweep.storage import Store, store_at

SETTINGS = RunSettings(threshold_init=-10, weight_decay=1e-4 / 3)
LED = RunSettings(
    threshold_init=-5.21,
    weight_decay=5e-4,
    threshold_decay=0.1 / 3,
    onset=10,
    lead=Lead(quantity="macs", pruned=0.95, exposure_at_90=0.7 / 3, delay=-0.1),
    fork=Fork(folder="runs/run-001/epoch_00010", epoch=10),
)
DENSE = RunSettings(threshold_init=-5.21, weight_decay=5e-4, is_dense=True, last_epoch=10)
LAYER = LayerRow(
    name="fc",
    parameter="fc.weight",
    weights=640,
    zeros=600,
    sparsity=0.9375,
    dense_macs=640,
    macs=40,
    threshold=None,
)
EVENTS: list[Event] = [
    SweepStarted(time=1.0, experiment={"name": "a\nb"}, version="0", problem=PROBLEM),
    RunProposed(time=2.0, run_id="run-001", settings=SETTINGS, target=None, reason="\u00e4 look"),
    RunProposed(time=2.5, run_id="run-002", settings=LED, target=NINETY, reason="between"),
    RunProposed(
        time=2.6, run_id="run-003", settings=SETTINGS, target=None, reason="", refines=FEW_MACS
    ),
    RunProposed(time=2.7, run_id="run-004", settings=DENSE, target=None, reason=""),
    EpochFinished(time=3.0, run_id="run-001", metrics={"epoch": 1, "train_loss": 1 / 3}),
    RunStopped(time=3.5, run_id="run-001", epoch=1, reason="would end elsewhere"),
    PrefixTrained(time=3.6, run_id="run-004", epoch=10, checkpoint="runs/run-004/epoch_00010"),
    RunFinished(
        time=4.0, run_id="run-001", metrics={"sparsity": 0.1}, layers=(LAYER,), checkpoint="c/1"
    ),
    ImagesUnreadable(time=4.5, run_id="run-002", names=("a/b.jpg",)),
    RunInterrupted(time=4.7, run_id="run-002", reason="worker 1: RuntimeError: timed out"),
    RunFailed(time=5.0, run_id="run-002", reason="out of memory"),
    ModelLanded(
        time=5.5,
        target=FEW_MACS,
        run_id="run-001",
        checkpoint="landed/macs-5/run-001",
        metrics={"macs": 22611.0},
        layers=(LAYER,),
        shift=-0.125,
    ),
    ModelPublished(
        time=6.0, target=NINETY, run_id="run-001", folder="f", model_uri="models:/m/1", version="1"
    ),
]


@pytest.fixture
def storage(tmp_path: Path) -> Store:
    return store_at(str(tmp_path))


def epoch(number: int, time: float, run_id: str = "run-001") -> EpochFinished:
    return EpochFinished(time=time, run_id=run_id, metrics={"epoch": number})


def tear(storage: Store, event: Event, name: str = "journal/sweep.jsonl") -> None:
    """Append the first half of a line, as a writer does that is killed in the middle."""
    line = event.model_dump_json().encode()
    with Path(storage.uri(name)).open("ab") as file:
        file.write(line[: len(line) // 2])


def test_the_examples_show_every_kind_of_event() -> None:
    union = get_args(Event)[0]
    assert {type(event) for event in EVENTS} == set(get_args(union))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{event.event}-{event.time}")
def test_event_is_read_as_it_was_written(storage: Store, event: Event) -> None:
    Journal(storage).append(event)
    assert Journal(storage).read() == [event]
    assert storage.read("journal/sweep.jsonl").count(b"\n") == 1


def test_a_sparsity_is_written_as_a_number(storage: Store) -> None:
    proposed = RunProposed(run_id="run-001", settings=SETTINGS, target=NINETY, reason="")
    assert '"target":0.9,' in proposed.model_dump_json()
    multiply_adds = proposed.model_copy(update={"target": FEW_MACS})
    assert '"target":{"macs":0.05},' in multiply_adds.model_dump_json()


def test_a_new_journal_is_empty(storage: Store) -> None:
    assert Journal(storage).read() == []


def test_event_without_a_time_gets_the_clock(storage: Store) -> None:
    first = RunFailed(run_id="run-001", reason="x")
    second = RunFailed(run_id="run-001", reason="x")
    assert 1.7e9 < first.time <= second.time < first.time + 60


def test_every_reader_has_what_all_writers_wrote(storage: Store) -> None:
    writers = ("run-001", "run-002", "sweep")
    for index, event in enumerate(EVENTS):
        Journal(storage, writers[index % 3]).append(event)
    for foreign in (".DS_Store", "._sweep.jsonl", "sweep.jsonl~", "notes.txt", "old/sweep.jsonl"):
        storage.write(f"journal/{foreign}", b"\x00\x05\n{}\n")
    assert list(Journal(storage).files()) == [f"journal/{name}.jsonl" for name in writers]
    for writer in writers:
        read = Journal(storage, writer).read()
        assert read == [event for start in range(3) for event in EVENTS[start::3]]


@pytest.mark.parametrize("cut", range(1, 12))
def test_torn_last_line_is_left_out_and_told(
    storage: Store, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    Journal(storage).append(EVENTS[0])
    Journal(storage).append(EVENTS[1])
    path = Path(storage.uri("journal/sweep.jsonl"))
    whole = path.read_bytes()
    path.write_bytes(whole[: -1 - cut])
    with caplog.at_level(logging.WARNING):
        assert Journal(storage).read() == EVENTS[:1]
    assert "journal/sweep.jsonl, line 2 was cut off" in caplog.text


def test_line_that_lacks_only_its_end_is_read(storage: Store) -> None:
    Journal(storage).append(EVENTS[0])
    path = Path(storage.uri("journal/sweep.jsonl"))
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert Journal(storage).read() == EVENTS[:1]
    Journal(storage).append(EVENTS[1])
    assert Journal(storage).read() == EVENTS[:2]


def test_torn_lines_in_the_middle_are_left_out(storage: Store) -> None:
    for event in EVENTS[:3]:
        Journal(storage).append(event)
        tear(storage, event)
    Journal(storage).append(EVENTS[3])
    assert Journal(storage).read() == EVENTS[:4]


def test_a_reader_that_keeps_up_reads_what_a_new_one_reads(storage: Store) -> None:
    lines = [event.model_dump_json() for event in EVENTS[:4]]
    content = "\n".join([*lines[:2], lines[0][:50], *lines[2:], ""]).encode()  # one was cut off
    keeps_up = Journal(storage)
    for end in [*range(0, len(content), 13), len(content)]:
        storage.write("journal/sweep.jsonl", content[:end])
        assert keeps_up.read() == Journal(storage).read()
    assert keeps_up.read() == EVENTS[:4]


@pytest.mark.parametrize(
    "line",
    [
        '{"event":"run_failed","time":1,"run_id":"run-001"}',
        '{"event":"run_failed","time":1,"run_id":"run-001","reason":"x","more":1}',
        '{"event":"unheard_of","time":1}',
        '{"event":"sweep_started","time":1,"experiment":{},"version":"0.1.0"}',
        '{"event":"run_resumed","time":1,"run_id":"run-001","target":0.9,"reason":""}',
        '{"event":"prefix_trained","time":1,"run_id":"run-001","epoch":10}',
        '{"event":"run_stopped","time":1,"run_id":"run-001","epoch":"x","reason":""}',
        '{"event":"epoch_finished","time":1,"run_id":"run-001","metrics":{"epoch":"x"}}',
        "{}",
        "[]",
        "5",
        "what is this",
        "\0" * 64,
        '{"time":1,"event":"run_fail\0\0\0',
        '{"time":1,"run_id"}',
        '{"reason":"no time',
        '{"time":1,"event":"run_failed","run_id":"run-001","reason":"x"}{"time":2',
    ],
)
def test_changed_line_is_named_by_file_and_number(storage: Store, line: str) -> None:
    Journal(storage).append(EVENTS[0])
    Journal(storage, "run-007").append(EVENTS[0])
    storage.append_line("journal/run-007.jsonl", line)
    Journal(storage, "run-007").append(EVENTS[1])
    with pytest.raises(JournalError, match=r"^journal/run-007\.jsonl, line 2 is damaged") as told:
        Journal(storage).read()
    assert "cut off" not in str(told.value)
    assert "Restore the file, or remove the line" in str(told.value)


NAMED = "a\udcff\u00e4.jpg"


@pytest.mark.parametrize(
    "event",
    [
        ImagesUnreadable(time=1.0, run_id="run-001", names=(NAMED, "b.jpg")),
        RunFailed(time=1.0, run_id="run-001", reason=f"{NAMED} cannot be read"),
        RunInterrupted(time=1.0, run_id="run-001", reason=NAMED),
        SweepStarted(time=1.0, experiment={"data": {"path": NAMED}}, version="0", problem=PROBLEM),
    ],
    ids=lambda event: event.event,
)
def test_a_name_that_is_not_utf_8_is_told_readably(storage: Store, event: Event) -> None:
    Journal(storage).append(event)
    [read] = Journal(storage).read()
    told = event.model_dump()
    assert repr(read.model_dump()) == repr(told).replace(r"\udcff", r"\\udcff")


WRITER = """
import sys
from pathlib import Path
from strsweep.journal import EpochFinished, Journal
from strsweep.storage import Store, store_at
journal = Journal(store_at(sys.argv[1]))
for number in range(int(sys.argv[2]), 10**9):
    journal.append(EpochFinished(time=number, run_id="run-001", metrics={"epoch": number}))
    print(number, flush=True)
"""


def test_kill_9_of_a_writer_leaves_a_readable_journal(storage: Store) -> None:
    confirmed = 0
    for _ in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, storage.location, str(confirmed + 1)],
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            for _ in range(40):
                confirmed = int(writer.stdout.readline())
            writer.kill()
            rest = writer.stdout.read().split()
        assert writer.returncode == -signal.SIGKILL
        confirmed = int(rest[-1]) if rest else confirmed
        numbers = [int(event.time) for event in Journal(storage).read()]
        # What was confirmed is there; at most the event being written is there besides.
        assert numbers == list(range(1, len(numbers) + 1))
        assert confirmed <= len(numbers) <= confirmed + 1
        confirmed = len(numbers)
        tear(storage, epoch(confirmed + 1, 0.0))
    assert replay(Journal(storage).read()).runs == {}

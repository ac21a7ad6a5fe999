"""Nothing that a run told is forgotten because the job's file lost lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples import epoch, finished, proposed, started
from typing_extensions import override

from strsweep.errors import JournalError
from strsweep.journal import Follower, Journal, RunInterrupted, replay
from strsweep.storage import Store, store_at
from strsweep.storage.store import FolderStore

INTERRUPTED = RunInterrupted(time=1.0, run_id="run-002", reason="timed out")
STARTED, FIRST, SECOND = (
    event.model_dump_json().encode() + b"\n"
    for event in (started(time=1.0), proposed(time=1.0), proposed("run-002", time=1.0))
)


@pytest.fixture
def storage(tmp_path: Path) -> Store:
    """The journal of a sweep with a finished run and an interrupted one."""
    found = store_at(str(tmp_path))
    found.write("journal/sweep.jsonl", STARTED + FIRST + SECOND)
    for event in (epoch(1), finished()):
        Journal(found, "run-001").append(event)
    Journal(found, "run-002-interruptions").append(INTERRUPTED)
    return found


@pytest.mark.parametrize("left", [None, b"", STARTED])
def test_a_journal_that_lost_the_file_of_the_job_is_told(
    storage: Store, left: bytes | None
) -> None:
    follows = Journal(storage)
    assert len(follows.read()) == 6
    Path(storage.uri("journal/sweep.jsonl")).unlink()
    if left is not None:
        storage.write("journal/sweep.jsonl", left)
    for reader in (follows, Journal(storage)):
        with pytest.raises(JournalError, match=r"sweep\.jsonl.* (gone|lost).*[Rr]estore it"):
            reader.read()


@pytest.mark.parametrize(
    ("left", "files"),
    [
        (b"", ["run-001", "run-002-interruptions"]),
        (b"\n", ["run-001", "run-002-interruptions"]),
        (STARTED, ["run-001", "run-002-interruptions"]),
        (STARTED + FIRST[:40], ["run-001", "run-002-interruptions"]),
        (STARTED + SECOND, ["run-001"]),
        (FIRST, ["run-002-interruptions"]),
    ],
    ids=["emptied", "blank", "first line", "torn", "middle gone", "ends gone"],
)
def test_runs_that_nobody_proposed_are_told_by_their_files(
    storage: Store, left: bytes, files: list[str]
) -> None:
    storage.write("journal/sweep.jsonl", left)
    names = ", ".join(f"journal/{file}.jsonl" for file in files)
    with pytest.raises(JournalError, match=r"sweep\.jsonl .* lost lines") as told:
        Journal(storage).read()
    assert f"no run of {names}. Restore it, or remove these files" in str(told.value)
    for file in files:
        Path(storage.uri(f"journal/{file}.jsonl")).unlink()
    Journal(storage).read()


@pytest.mark.parametrize("lost", ["first", "second"])
def test_a_lost_object_of_the_job_is_told(storage: Store, lost: str) -> None:
    """In a bucket, each job that drove the sweep has objects of its own."""
    Path(storage.uri("journal/sweep.jsonl")).unlink()
    parts = {"first": STARTED + FIRST, "second": STARTED + SECOND}
    for number, part in enumerate(parts):
        storage.write(f"journal/sweep.18ec{number:012x}-0a1b2c3d.jsonl", parts[part])
    assert list(replay(Journal(storage).read()).runs) == ["run-001", "run-002"]
    [name] = [name for name in storage.sizes("journal") if storage.read(name) == parts[lost]]
    Path(storage.uri(name)).unlink()
    with pytest.raises(JournalError, match="lost lines: it proposes no run of journal/run-00"):
        Journal(storage).read()


def test_a_run_that_begins_while_the_folder_is_looked_at_is_no_loss(
    storage: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    follows, follower = Journal(storage), Follower(Journal(storage))
    follows.read()
    follower.record()
    before = storage.sizes("journal")
    storage.write(
        "journal/sweep.jsonl",
        STARTED + FIRST + SECOND + proposed("run-003").model_dump_json().encode() + b"\n",
    )
    Journal(storage, "run-003").append(epoch(1, "run-003"))
    size, sizes = before["journal/sweep.jsonl"], storage.sizes
    seen = iter([{**sizes("journal"), "journal/sweep.jsonl": size}] * 2)
    monkeypatch.setattr(storage, "sizes", lambda folder: next(seen, None) or sizes(folder))
    assert "run-003" not in follower.record().runs
    assert "run-003" in replay(follows.read()).runs
    assert list(follower.record().runs["run-003"].epochs) == [1]


class LateListings(FolderStore):
    """A store whose listing can be older than what it reads, as those of some services are."""

    listed: dict[str, int] | None = None

    @override
    def sizes(self, folder: str) -> dict[str, int]:
        return self.listed or super().sizes(folder)


def test_a_listing_that_is_older_than_what_was_read_tells_of_no_loss(
    storage: Store, tmp_path: Path
) -> None:
    late = LateListings(tmp_path)
    follows, old = Journal(late), late.sizes("journal")
    Journal(storage, "run-002").append(epoch(1, run_id="run-002"))
    Journal(storage, "run-001").append(epoch(2))
    assert len(follows.read()) == 8
    late.listed = old
    assert len(follows.read()) == 7, "an object that is not listed yet"
    Journal(storage, "run-001").append(epoch(3))
    assert len(follows.read()) == 8
    late.listed = None
    assert follows.read() == Journal(storage).read()

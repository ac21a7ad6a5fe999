"""A sweep cannot tell a folder from a bucket."""

from __future__ import annotations

import pickle
import threading
from pathlib import Path

import pytest
import torch
from samples import folders

from strsweep.errors import CheckpointError
from strsweep.journal import Journal, RunProposed, replay
from strsweep.settings import Fork, RunSettings
from strsweep.storage import Store, store_at
from strsweep.training.checkpoints import RunCheckpoints, load_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow")


def proposal(number: int) -> RunProposed:
    settings = RunSettings(threshold_init=-10, weight_decay=1e-3)
    return RunProposed(run_id=f"run-{number:03d}", settings=settings, target=None, reason="test")


def test_what_was_written_is_read_back(storage: Store) -> None:
    storage.write("a/b.bin", b"first")
    storage.write("a/b.bin", b"second \x00\xff")
    storage.write("a/c/d.bin", b"")
    assert storage.read("a/b.bin") == b"second \x00\xff"
    assert storage.sizes("a") == {"a/b.bin": 9, "a/c/d.bin": 0}
    assert storage.sizes("a/c") == {"a/c/d.bin": 0}
    assert storage.sizes("nowhere") == {}
    with pytest.raises(FileNotFoundError):
        storage.read("a/e.bin")


def test_a_folder_is_not_another_one_that_begins_like_it(storage: Store) -> None:
    storage.write("runs/run-1/x", b"1")
    storage.write("runs/run-10/x", b"10")
    assert list(storage.sizes("runs/run-1")) == ["runs/run-1/x"]
    storage.delete("runs/run-1")
    storage.delete("runs/run-1")
    assert list(storage.sizes("runs")) == ["runs/run-10/x"]


def test_files_can_be_had_on_this_machine(storage: Store) -> None:
    storage.write("models/a/weights", b"w")
    storage.write("models/a/deep/receipt", b"r")
    with storage.local("models/a") as folder:
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files(folder)}
    assert found == {"weights": b"w", "deep/receipt": b"r"}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_journal_has_what_several_processes_wrote(storage: Store) -> None:
    journals = [Journal(store_at(storage.location)) for _ in range(3)]

    def write(start: int) -> None:
        for number in range(start, start + 5):
            journals[start // 5].append(proposal(number))

    threads = [threading.Thread(target=write, args=(start,)) for start in (0, 5, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record = replay(Journal(storage).read())
    assert sorted(record.runs) == [f"run-{number:03d}" for number in range(15)]


def test_a_copy_in_another_process_overwrites_no_line(storage: Store) -> None:
    storage.append_line("journal/sweep.jsonl", "one")
    copy: Store = pickle.loads(pickle.dumps(storage))
    copy.append_line("journal/sweep.jsonl", "two")
    storage.append_line("journal/sweep.jsonl", "three")
    lines = [line for name in storage.sizes("journal") for line in storage.read(name).split()]
    assert sorted(lines) == [b"one", b"three", b"two"]


def test_a_long_log_is_kept_whole(storage: Store) -> None:
    lines = [f"{number:04d} " + "x" * 40_000 for number in range(20)]
    for line in lines:
        storage.append_line("journal/long.jsonl", line)
    written = b"".join(storage.read(name) for name in storage.sizes("journal"))
    assert written.decode().splitlines() == lines


def test_only_the_newest_checkpoints_are_kept(storage: Store) -> None:
    checkpoints = RunCheckpoints(storage, "run-001", kept=2)
    assert checkpoints.newest() is None
    for epoch in (1, 2, 10, 11):
        checkpoints.save(epoch, {"model": {"w": torch.full((3,), float(epoch))}})
    assert folders(storage, "runs/run-001") == ["epoch_00010", "epoch_00011"]
    for foreign in (".DS_Store", "epoch_00010/._state.pt", "epoch_00012/.DS_Store", "a/b/notes"):
        storage.write(f"runs/run-001/{foreign}", b"of another system")
    newest = checkpoints.newest()
    assert newest is not None
    assert newest[0] == 11
    assert newest[1]["model"]["w"].tolist() == [11, 11, 11]


@pytest.mark.parametrize("kept", [1, 2])
@pytest.mark.parametrize(
    "foreign",
    ["backup/epoch_00099", "epoch_99", "epoch_0000099", "epoch_\u0669\u0669", "old/epoch_00001"],
)
def test_copies_in_the_folder_of_a_run_are_no_checkpoints(
    storage: Store, kept: int, foreign: str
) -> None:
    checkpoints = RunCheckpoints(storage, "run-001", kept)
    for epoch in (1, 2, 3):
        checkpoints.save(epoch, {"model": {"w": torch.full((3,), float(epoch))}})
        storage.write(f"runs/run-001/{foreign}/state.pt", b"of somebody else")
    own = [checkpoints.folder(epoch) for epoch in (1, 2, 3)]
    stored = {name.removesuffix("/state.pt") for name in storage.sizes("runs/run-001")}
    assert stored == {*own[-kept:], f"runs/run-001/{foreign}"}
    newest = checkpoints.newest()
    assert newest is not None
    assert newest[0] == 3


@pytest.mark.parametrize("damaged", [(30,), (20, 30)])
def test_damaged_checkpoints_do_not_drive_out_what_is_saved_after_them(
    storage: Store, damaged: tuple[int, ...]
) -> None:
    checkpoints = RunCheckpoints(storage, "run-001", kept=len(damaged))
    for epoch in damaged:
        storage.write(f"{checkpoints.folder(epoch)}/state.pt", b"damaged")
    checkpoints.save(10, {"model": {"w": torch.ones(3)}})
    newest = checkpoints.newest()
    assert newest is not None
    assert newest[0] == 10


def test_the_state_that_runs_share_is_kept_and_begun_with(storage: Store) -> None:
    shared = RunCheckpoints(storage, "run-001", kept=1, shared_epoch=2)
    for epoch in (1, 2, 3, 4):
        shared.save(epoch, {"model": {"w": torch.full((3,), float(epoch))}})
    assert folders(storage, "runs/run-001") == ["epoch_00002", "epoch_00004"]
    fork = Fork(folder=shared.folder(2), epoch=2)
    forked = RunCheckpoints(storage, "run-002", kept=1, fork=fork)
    for own in (None, 3):
        if own is not None:
            forked.save(own, {"model": {"w": torch.full((3,), 30.0)}})
        newest = forked.newest()
        assert newest is not None
        assert (newest[0], newest[1]["model"]["w"][0]) == ((2, 2) if own is None else (3, 30))
    assert forked.load(2)["model"]["w"].tolist() == [2, 2, 2]


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    storage: Store, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = RunCheckpoints(storage, "run-001", kept=2)
    for epoch in (1, 2):
        checkpoints.save(epoch, {"model": {"w": torch.full((300,), float(epoch))}})
    name = f"{checkpoints.folder(2)}/state.pt"
    content = bytearray(storage.read(name))
    content[len(content) // 2] ^= 1
    storage.write(name, bytes(content[:-20] if damage == "truncated" else content))
    with pytest.raises(CheckpointError, match="it is damaged"):
        load_checkpoint(storage, checkpoints.folder(2))
    newest = checkpoints.newest()
    assert newest is not None
    assert newest[0] == 1
    assert f"{storage.uri(name)} cannot be read: it is damaged" in capsys.readouterr().out

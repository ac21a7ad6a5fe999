"""What a sweep writes is read back whole, also after a crash in the middle of a write."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from strsweep.config import load_experiment
from strsweep.errors import SettingError
from strsweep.storage import Store, check_writable, storage_of, store_at

DIGITS = Path(__file__).parents[3] / "jobs" / "configs" / "digits.yaml"


@pytest.fixture
def storage(tmp_path: Path) -> Store:
    return store_at(str(tmp_path / "not" / "yet" / "there"))


def test_folder_is_named_by_the_sweep_id(tmp_path: Path) -> None:
    experiment = load_experiment(DIGITS, [f"storage.path={tmp_path}"])
    assert storage_of(experiment).location == str(tmp_path / "sweeps" / experiment.sweep_id)


def test_appended_lines_are_read_in_order(storage: Store) -> None:
    for line in ("one", "two", "drei \u00e4"):
        storage.append_line("log/a.txt", line)
    assert storage.read("log/a.txt") == "one\ntwo\ndrei \u00e4\n".encode()


def test_torn_last_line_is_closed_by_the_next_append(storage: Store) -> None:
    storage.append_line("a.txt", "whole")
    with Path(storage.uri("a.txt")).open("ab") as file:
        file.write(b"to")
    storage.append_line("a.txt", "next")
    assert storage.read("a.txt") == b"whole\nto\nnext\n"


def test_empty_file_gets_no_empty_line(storage: Store) -> None:
    storage.write("a.txt", b"")
    storage.append_line("a.txt", "first")
    assert storage.read("a.txt") == b"first\n"


def test_reader_of_the_old_content_is_not_disturbed_by_a_write(storage: Store) -> None:
    storage.write("a.bin", b"old")
    with Path(storage.uri("a.bin")).open("rb") as reader:
        storage.write("a.bin", b"new")
        assert reader.read() == b"old"
    assert storage.read("a.bin") == b"new"


def test_write_that_fails_leaves_the_old_content(storage: Store) -> None:
    storage.write("a.bin", b"old")
    with pytest.raises(TypeError):
        storage.write("a.bin", "text is not bytes")  # pyright: ignore[reportArgumentType]
    assert storage.read("a.bin") == b"old"


def test_write_goes_over_what_a_killed_write_left(storage: Store) -> None:
    storage.write("a.bin.partial", b"a long half-written content")
    storage.write("a.bin", b"new")
    assert storage.read("a.bin") == b"new"
    assert not Path(storage.uri("a.bin.partial")).exists()


@pytest.mark.parametrize("target", ["link", "other", "nowhere", "a/below"])
def test_links_that_lead_to_no_file_are_no_files(storage: Store, target: str) -> None:
    storage.write("f/a", b"own")
    folder = Path(storage.uri("f"))
    (folder / "link").symlink_to(target)
    (folder / "other").symlink_to("link")
    (folder / "whole").symlink_to("a")
    (folder / "link.partial").symlink_to(target)
    assert storage.sizes("f") == {"f/a": 3, "f/whole": 3}
    assert storage.remove_partial_writes(older_than=timedelta(hours=1)) == 0


def test_sizes_of_a_missing_folder_are_none(storage: Store) -> None:
    assert storage.sizes("nowhere") == {}
    assert not Path(storage.location).exists()


def test_check_writable_makes_the_folder_and_leaves_it_empty(tmp_path: Path) -> None:
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize("below", ["", "folder"])
def test_check_writable_refuses_a_file_in_place_of_a_folder(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("kept")
    path = tmp_path / "file" / below
    with pytest.raises(SettingError) as refusal:
        check_writable(path)
    assert refusal.value.setting == "storage.path"
    assert str(path) in str(refusal.value)
    assert "every node can write to" in str(refusal.value)
    assert (tmp_path / "file").read_text() == "kept"


def test_check_writable_refuses_a_folder_of_the_kernel() -> None:
    with pytest.raises(SettingError, match=r"^storage\.path: got '/proc/strsweep'"):
        check_writable(Path("/proc/strsweep"))

"""Whatever happened to a checkpoint file, it loads whole or is refused as damaged."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from strsweep.errors import CheckpointError
from strsweep.storage import store_at
from strsweep.training.checkpoint import State, load_checkpoint, save_checkpoint

WEIGHTS = torch.arange(30.0) + 100


def save(path: Path, state: State) -> None:
    save_checkpoint(store_at(str(path.parents[1])), path.parent.name, state)


def load(path: Path) -> State:
    return load_checkpoint(store_at(str(path.parents[1])), path.parent.name)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_checkpoint(store_at(str(tmp_path)), "last", {"model": {"w": WEIGHTS}})
    return tmp_path / "last/state.pt"


def test_cut_off_anywhere_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in range(0, len(whole), 41):
        saved.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"state\.pt cannot be read"):
            load(saved)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_flipped_byte_never_escapes_as_another_error(saved: Path) -> None:
    whole = saved.read_bytes()
    escaped: set[str] = set()
    for position in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        saved.write_bytes(damaged)
        try:
            load(saved)
        except CheckpointError:
            continue
        except Exception as error:
            escaped.add(type(error).__name__)
    assert escaped == set()


def test_a_flipped_byte_in_the_weights_is_noticed(saved: Path) -> None:
    damaged = bytearray(saved.read_bytes())
    damaged[damaged.index(WEIGHTS.numpy().tobytes()) + 40] ^= 0xFF
    saved.write_bytes(damaged)
    with pytest.raises(CheckpointError):
        load(saved)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "content", [b"", b"\x80\x02.", b"\x80\x02h\x05.", b"X\x02\x00\x00\x00\xff\xff.", b"a"]
)
def test_bytes_that_are_no_checkpoint_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(CheckpointError):
        load(tmp_path / "last/state.pt")


def test_a_readable_file_that_holds_no_state_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "state.pt")
    with pytest.raises(CheckpointError):
        load(tmp_path / "last/state.pt")


def test_a_write_that_fails_leaves_the_old_state(saved: Path) -> None:
    old = saved.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError), match="local object"):
        save(saved, {"model": lambda: None})
    assert saved.read_bytes() == old
    assert torch.equal(load(saved)["model"]["w"], WEIGHTS)


def test_what_a_killed_writer_left_does_not_disturb(saved: Path) -> None:
    (saved.parent / "state.pt.partial").write_bytes(b"half a file")
    assert torch.equal(load(saved)["model"]["w"], WEIGHTS)
    save(saved, {"model": {"w": WEIGHTS + 1}})
    assert torch.equal(load(saved)["model"]["w"], WEIGHTS + 1)
    assert list(saved.parent.iterdir()) == [saved]

"""Whatever happened to a checkpoint file, it loads whole or is refused as damaged."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from strsweep.errors import CheckpointError
from strsweep.storage import store_at
from strsweep.training.checkpoints import State, load_checkpoint, save_checkpoint

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


def test_a_flipped_byte_is_noticed_anywhere(saved: Path) -> None:
    whole = saved.read_bytes()
    in_weights = whole.index(WEIGHTS.numpy().tobytes()) + 40
    for position in (in_weights, *range(0, len(whole), 3)):
        damaged = bytearray(whole)
        damaged[position] ^= 0xFF
        saved.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"state\.pt cannot be read"):
            load(saved)


class Attack:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (os.environ["STRSWEEP_ATTACK"],)


@pytest.mark.parametrize("content", [None, b"", b"a", b"\x80\x02h\x05.", Attack()])
def test_bytes_that_are_no_checkpoint_are_refused(
    content: bytes | Attack | None, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    attacked = saved.parent / "attacked"
    monkeypatch.setenv("STRSWEEP_ATTACK", str(attacked))
    if content is None:
        saved.unlink()
    else:
        is_code = isinstance(content, Attack)
        saved.write_bytes(pickle.dumps(content, protocol=2) if is_code else content)
    with pytest.raises(CheckpointError, match=r"state\.pt cannot be read"):
        load(saved)
    assert not attacked.exists()


def test_a_pickle_with_a_right_digest_runs_no_code(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRSWEEP_ATTACK", str(saved.parent / "attacked"))
    save(saved, {"model": Attack()})
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        load(saved)
    assert not (saved.parent / "attacked").exists()


def test_a_checkpoint_of_another_format_is_refused(saved: Path) -> None:
    save(saved, {"format": 99})
    with pytest.raises(CheckpointError, match="format 99"):
        load(saved)


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

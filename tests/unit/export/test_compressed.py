"""Compressed files: bit for bit what went in, small, and never silently wrong."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models import resnet50

from strsweep.errors import ExportError
from strsweep.export import load_compressed, save_compressed
from strsweep.sparsity.budget import Budget
from strsweep.sparsity.convert import bake
from strsweep.sparsity.magnitude import obey

State = dict[str, Tensor]
HEADER = "strsweep-compressed"
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8]


def bits(tensor: Tensor) -> list[int]:
    """The bytes of a tensor: equality of floats says nothing about NaN and the sign of zero."""
    return tensor.contiguous().flatten().view(torch.uint8).tolist()


def assert_same_bits(actual: State, expected: State) -> None:
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (actual[name].shape, actual[name].dtype) == (tensor.shape, tensor.dtype)
        assert bits(actual[name]) == bits(tensor), name


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """Random bit patterns, so also NaN with payload, infinities and subnormal numbers."""
    shape = draw(st.lists(st.integers(0, 23), max_size=3))
    dtype = draw(st.sampled_from(DTYPES))
    density = draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    size = math.prod(shape)
    content = torch.randint(0, 256, (size, dtype.itemsize), generator=generator, dtype=torch.uint8)
    content[torch.rand(size, generator=generator) >= density] = 0
    return content.flatten().view(dtype).reshape(shape)


@given(state=st.dictionaries(st.text(min_size=1, max_size=4), tensors(), max_size=3))
def test_any_state_comes_back_bit_for_bit(
    state: State, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("state") / "x"
    save_compressed(state, path)
    assert_same_bits(load_compressed(path), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_negative_zero_and_nan_survive(dtype: torch.dtype, tmp_path: Path) -> None:
    weight = torch.zeros(64, 64, dtype=dtype)
    weight[0, :4] = torch.tensor([-0.0, math.nan, math.inf, 1e-7], dtype=dtype)
    save_compressed({"w": weight}, tmp_path / "x")
    assert_same_bits(load_compressed(tmp_path / "x"), {"w": weight})
    assert load_file(tmp_path / "x")["w:values"].shape == (4,)


def test_the_layout_is_the_one_described(tmp_path: Path) -> None:
    weight = torch.zeros(2, 100)
    weight[0, 0], weight[0, 9], weight[1, 99] = 1.5, -2.0, 3.0
    save_compressed({"w": weight, "b": torch.ones(3)}, tmp_path / "x")
    stored = load_file(tmp_path / "x")
    assert stored.keys() == {"w:mask", "w:values", "b"}
    # Entry 0 is bit 0 of byte 0, entry 9 bit 1 of byte 1, entry 199 bit 7 of byte 24.
    assert stored["w:mask"].tolist() == [1, 2, *[0] * 22, 128]
    assert stored["w:values"].tolist() == [1.5, -2.0, 3.0]
    with safe_open(tmp_path / "x", framework="pt") as file:
        header = json.loads(file.metadata()[HEADER])
    assert (header["version"], header["shapes"]) == (1, {"w": [2, 100]})


@pytest.mark.parametrize(
    ("tensor", "is_packed"),
    [
        (torch.ones(1000), False),
        (torch.zeros(1000), True),
        (torch.zeros(16), False),  # the header entry would cost more than it saves
        (torch.zeros(0, 5), False),
        (torch.tensor(0), False),
        (torch.arange(100_000) % 32 == 0, True),  # a byte each
        ((torch.arange(100_000) % 10 == 0).float(), True),
    ],
)
def test_the_smaller_form_is_chosen(tensor: Tensor, is_packed: bool, tmp_path: Path) -> None:
    save_compressed({"w": tensor}, tmp_path / "x")
    save_file({"w": tensor}, tmp_path / "dense")
    assert ("w:mask" in load_file(tmp_path / "x")) == is_packed
    if is_packed:
        assert (tmp_path / "x").stat().st_size < (tmp_path / "dense").stat().st_size + 300


def test_the_same_state_gives_the_same_bytes(tmp_path: Path) -> None:
    state = {f"w{index}": torch.eye(40) * index for index in range(5)}
    save_compressed(state, tmp_path / "one")
    save_compressed(dict(reversed(state.items())), tmp_path / "other")
    other = load_compressed(tmp_path / "other")
    assert_same_bits(other, state)
    save_compressed(state, tmp_path / "again")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "again").read_bytes()


@pytest.mark.slow
def test_a_resnet50_at_90_percent_is_small(tmp_path: Path) -> None:
    model = resnet50(weights=None)
    bake(obey(model, Budget.uniform(model, 0.9).densities))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(state, tmp_path / "dense")
    save_compressed(state, tmp_path / "x")
    loaded = load_compressed(tmp_path / "x")
    share = (tmp_path / "x").stat().st_size / (tmp_path / "dense").stat().st_size
    assert 0.10 < share < 0.17
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    nn.Module.load_state_dict(model, loaded)


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, State]:
    weight = torch.zeros(20, 20)
    weight[3, :5] = torch.arange(1.0, 6.0)
    state = {"w": weight, "b": torch.arange(3.0), "n": torch.tensor(7)}
    save_compressed(state, tmp_path / "x")
    return tmp_path / "x", state


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_flipped_byte_is_noticed_or_harmless(small: tuple[Path, State], flip: int) -> None:
    path, state = small
    whole = path.read_bytes()
    refused = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= flip
        path.write_bytes(damaged)
        try:
            assert_same_bits(load_compressed(path), state)
        except ExportError:
            refused += 1
    assert refused > 0.9 * len(whole)


def test_cut_off_anywhere_is_refused(small: tuple[Path, State]) -> None:
    path, _ = small
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ExportError, match="cannot be read"):
            load_compressed(path)


def rewritten(path: Path, change: Any) -> None:
    """Write the file again with a changed header or content; the digest is whatever it was."""
    with safe_open(path, framework="pt") as file:
        text = file.metadata()[HEADER]
    entries = load_file(path)
    header = change(json.loads(text), entries)
    save_file(
        entries, path, metadata={HEADER: header if isinstance(header, str) else json.dumps(header)}
    )


def swap_values(header: Any, entries: State) -> Any:
    entries["w:values"] = entries["w:values"].flip(0)
    return header


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, _: {**header, "version": 2}, "version 2, this release reads 1"),
        (lambda header, _: {**header, "shapes": {"w": [400]}}, "not what was written"),
        (lambda header, _: {"version": 1}, "header cannot be read"),
        (lambda header, _: "{", "header cannot be read"),
        (lambda header, _: "[]", "header cannot be read"),
        (lambda header, _: "[" * 100_000, "header cannot be read"),
        (swap_values, "not what was written"),
    ],
)
def test_a_changed_file_is_refused(small: tuple[Path, State], change: Any, message: str) -> None:
    path, _ = small
    rewritten(path, change)
    with pytest.raises(ExportError, match=message):
        load_compressed(path)


@pytest.mark.parametrize(
    ("shapes", "entries"),
    [
        ({"w": [10**15]}, {"w:mask": torch.ones(1).byte(), "w:values": torch.ones(1)}),
        ({"w": [9]}, {"w:mask": torch.ones(1).byte(), "w:values": torch.ones(1)}),
        ({"w": [2]}, {"w:mask": torch.full((1,), 4).byte(), "w:values": torch.ones(1)}),
        ({"w": [8]}, {"w:mask": torch.ones(1).byte(), "w:values": torch.ones(2)}),
        ({"w": [8]}, {"w:values": torch.ones(2)}),
        ({"w": "8"}, {"w:mask": torch.ones(1).byte(), "w:values": torch.ones(1)}),
        ({"w": [-8]}, {"w:mask": torch.ones(1).byte(), "w:values": torch.ones(1)}),
        (["w"], {"w:mask": torch.ones(1).byte(), "w:values": torch.ones(1)}),
    ],
)
def test_a_forged_file_with_a_right_digest_is_refused(
    shapes: Any, entries: State, tmp_path: Path
) -> None:
    from strsweep.export.compressed import _digest

    header = {"version": 1, "shapes": shapes, "sha256": _digest(entries, shapes)}
    save_file(entries, tmp_path / "x", metadata={HEADER: json.dumps(header)})
    with pytest.raises(ExportError, match="masks that do not fit"):
        load_compressed(tmp_path / "x")


def test_other_files_are_told(tmp_path: Path) -> None:
    save_file({"w": torch.ones(3)}, tmp_path / "dense")
    with pytest.raises(ExportError, match="is no compressed model"):
        load_compressed(tmp_path / "dense")
    with pytest.raises(ExportError, match="cannot be read"):
        load_compressed(tmp_path / "none")


def test_names_that_collide_are_refused(tmp_path: Path) -> None:
    state = {"w:mask": torch.ones(2), "w": torch.zeros(1000)}
    with pytest.raises(ExportError, match="two tensors would be called"):
        save_compressed(state, tmp_path / "x")

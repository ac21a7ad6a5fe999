"""A zero that is published is a zero where the network multiplies, whatever it does to weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strsweep.sparsity.convert import sparsify
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.measure import measure
from strsweep.sparsity.products import check_products

WIDTH = 8
KEEPS, LOST = "", "zeros do not stay zeros"


class Through(nn.Linear):
    """Multiplies with what ``change`` makes of its weight."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__(WIDTH, WIDTH, bias=False)
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.change(self.weight).to(x.dtype))


def quantized(weight: Tensor) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(weight, 0.05, 0, -128, 127)


CHANGES: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "itself": (lambda w: w, KEEPS),
    "transposed_copy": (lambda w: w.t().contiguous().t(), KEEPS),
    "cast": (lambda w: w.bfloat16().float(), KEEPS),
    "equalized": (lambda w: w * 0.35, KEEPS),
    "scaled_by_filter": (lambda w: w / w.norm(dim=1, keepdim=True), KEEPS),
    "quantized": (quantized, KEEPS),
    "rounded": (lambda w: w.sign() * w.abs().mean(), KEEPS),
    "standardized": (lambda w: (w - w.mean(1, keepdim=True)) / w.std(1, keepdim=True), LOST),
    "shifted": (lambda w: w + 0.1, LOST),
    "positive": (F.softplus, LOST),
    "shuffled_sum": (lambda w: w + w.flip(0), LOST),
}


@pytest.mark.parametrize("change", CHANGES)
def test_zeros_must_reach_the_product(change: str) -> None:
    torch.manual_seed(0)
    how, reason = CHANGES[change]
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), Through(how))
    assert measure(model, torch.zeros(1, WIDTH)).dense_macs == 2 * WIDTH**2
    if not reason:
        check_products(model, ["0", "1"], torch.randn(1, WIDTH))
        return
    with pytest.raises(ValueError, match=f"Through: .*{reason}.*skip=\\['1'\\]"):
        check_products(model, ["0", "1"], torch.randn(1, WIDTH))
    check_products(model, ["0"], torch.randn(1, WIDTH))


def test_multiply_adds_are_those_of_what_is_multiplied() -> None:
    """Of a standardized layer none is saved, whatever its thresholds prune."""
    torch.manual_seed(0)
    for change, saved in (("equalized", True), ("standardized", False)):
        model = sparsify(nn.Sequential(Through(CHANGES[change][0])), threshold_init=-1.8)
        report = measure(model, torch.zeros(1, WIDTH))
        assert 0 < report.zeros < WIDTH**2
        assert report.macs == (WIDTH**2 - report.zeros if saved else WIDTH**2)


class Packed(nn.Module):
    """Uses slices of one weight: all of it, or some."""

    def __init__(self, slices: int) -> None:
        super().__init__()
        self.qkv, self.slices = nn.Linear(WIDTH, 3 * WIDTH, bias=False), slices

    def forward(self, x: Tensor) -> Tensor:
        rows = self.qkv.weight.split(WIDTH)[: self.slices]
        return sum((F.linear(x, part) for part in rows), torch.zeros(()))


class Joined(nn.Module):
    """Multiplies with two weights at once."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, torch.cat([self.a.weight, self.b.weight]))


class Adapted(nn.Module):
    """Adds a product of two small weights, one of which begins at zero (LoRA)."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(WIDTH, WIDTH)
        self.down, self.up = nn.Linear(WIDTH, 2, bias=False), nn.Linear(2, WIDTH, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.base.weight + self.up.weight @ self.down.weight)


class Views(nn.Module):
    """Two layers whose parameters are views of one tensor, beside or over each other."""

    def __init__(self, step: int) -> None:
        super().__init__()
        flat = torch.randn(2 * WIDTH, WIDTH)
        self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.a.weight = nn.Parameter(flat[:WIDTH])
        self.b.weight = nn.Parameter(flat[step : step + WIDTH])

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(self.a(x)))


@pytest.mark.parametrize(
    ("model", "layers", "macs", "message"),
    [
        (Packed(3), ["qkv"], 3 * WIDTH**2, ""),
        (Packed(2), ["qkv"], 2 * WIDTH**2, r"a part of its weight only.*skip=\['qkv'\]"),
        (Joined(), ["a", "b"], 2 * WIDTH**2, ""),
        (Adapted(), ["base", "down", "up"], None, r"do not stay zeros.*skip=\['base'\]"),
        (Views(WIDTH), ["a", "b"], 3 * WIDTH**2, ""),
        (Views(0), ["a", "b"], None, r"shares a part of the memory.*skip=\['a', 'b'\]"),
        (Views(3), ["a", "b"], None, r"shares a part of the memory.*skip=\['a', 'b'\]"),
    ],
    ids=["packed", "half_used", "joined", "adapted", "beside", "the_same", "overlapping"],
)
def test_parts_and_views(
    model: nn.Module, layers: list[str], macs: int | None, message: str
) -> None:
    example = torch.randn(1, WIDTH)
    assert [weight.name for weight in weight_tensors(model)] == layers
    if macs is not None:
        assert measure(model, example).dense_macs == macs
    if not message:
        check_products(model, layers, example)
        return
    with pytest.raises(ValueError, match=message):
        check_products(model, layers, example)


def test_views_beside_each_other_are_counted_apart() -> None:
    report = measure(Views(WIDTH), torch.zeros(1, WIDTH))
    assert [layer.dense_macs for layer in report.layers] == [2 * WIDTH**2, WIDTH**2]

"""A zero that is published is a zero where the network multiplies, whatever it does to weights."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

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

    @override
    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.change(self.weight).to(input.dtype))


def standardized(weight: Tensor) -> Tensor:
    return (weight - weight.mean(1, keepdim=True)) / weight.std(1, keepdim=True)


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
    "in_a_buffer": (lambda w: torch.zeros_like(w).copy_(w), KEEPS),
    "unknown_to_autograd": (lambda w: (2 * w).data, KEEPS),
    "standardized": (standardized, LOST),
    "standardized_filter": (lambda w: torch.cat([standardized(w[:1]), w[1:]]), LOST),
    "standardized_in_place": (lambda w: w.clone().sub_(w.mean()), LOST),
    "standardized_in_a_buffer": (lambda w: torch.zeros_like(w).copy_(w - w.mean()), LOST),
    "beside_the_identity": (lambda w: w + torch.eye(WIDTH), LOST),
    "one_entry_shifted": (lambda w: w + F.pad(torch.ones(1, 1), (0, 7, 0, 7)), LOST),
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


CHANGED = "the network changes its weight while it runs"
WRITES: dict[str, Callable[[nn.Linear], object]] = {
    "in_place": lambda layer: layer.weight.sub_(layer.weight.mean(1, keepdim=True)),
    "a_filter": lambda layer: layer.weight[0].sub_(layer.weight[0].mean()),
    "past_autograd": lambda layer: layer.weight.data.clamp_(-9, 9),
    "another_tensor": lambda layer: setattr(
        layer.weight, "data", torch.renorm(layer.weight.data, 2, 0, maxnorm=0.1)
    ),
    "another_parameter": lambda layer: setattr(layer, "weight", nn.Parameter(layer.weight * 2)),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_weight_that_a_run_changes_is_refused(write: str) -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH))

    def change(layer: nn.Module, _: object) -> None:
        assert isinstance(layer, nn.Linear)
        WRITES[write](layer)

    model[1].register_forward_pre_hook(change)
    with pytest.raises(ValueError, match=f"Linear: {CHANGED}.*skip=\\['1'\\]"):
        check_products(model, ["0", "1"], torch.randn(1, WIDTH))
    check_products(model, ["0"], torch.randn(1, WIDTH))
    assert measure(model, torch.zeros(1, WIDTH)).dense_macs == 2 * WIDTH**2


class Between(nn.Module):
    """Has a layer whose weight ``act`` brings to its inputs, between two others."""

    def __init__(self, act: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.own, self.last = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(3))
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.first(x[0]))
        return self.last(F.gelu(self.act(self.own.weight, x))[None])


ELSEWHERE = "elsewhere than in a convolution or matrix product"
ACTS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str]] = {
    "mv": (lambda w, x: w.mv(x), KEEPS),
    "addmv": (lambda w, x: torch.addmv(x, w, x), KEEPS),
    "dot": (lambda w, x: torch.stack([row.dot(x) for row in w]), KEEPS),
    "vdot": (lambda w, x: torch.stack([row.vdot(x) for row in w]), KEEPS),
    "addbmm": (lambda w, x: torch.addbmm(x[None], x[None, None], w.t()[None])[0], KEEPS),
    "einsum": (lambda w, x: torch.einsum("oi,i->o", w, x), KEEPS),
    "scaled_output": (lambda w, x: w.sign().mv(x) * w.abs().mean(1), KEEPS),
    "elementwise": (lambda w, x: (w * x).sum(1), ELSEWHERE),
    "written_out": (lambda w, x: torch.mm(x[None], w.t(), out=torch.zeros(1, WIDTH))[0], ELSEWHERE),
    "modulated": (lambda w, x: F.linear(x, w * x.sigmoid()), ELSEWHERE),
    "distance": (lambda w, x: torch.cdist(x[None], w)[0], ELSEWHERE),
}


@pytest.mark.parametrize("act", ACTS)
def test_what_a_weight_makes_of_inputs_is_no_weight(act: str) -> None:
    how, reason = ACTS[act]
    model, example = Between(how), torch.randn(1, WIDTH)
    own = 0 if reason else WIDTH**2
    layers = measure(model, example).layers
    assert [layer.dense_macs for layer in layers] == [WIDTH**2, own, WIDTH**2]
    if not reason:
        check_products(model, ["first", "own", "last"], example)
        return
    with pytest.raises(ValueError, match=f"Linear: .*{reason}.*skip=\\['own'\\]"):
        check_products(model, ["first", "own", "last"], example)
    check_products(model, ["first", "last"], example)


class FromObject(Between):
    """Takes its inputs out of an object."""

    def forward(self, x: Any) -> Tensor:
        return super().forward(x.images)


def test_inputs_inside_an_object_are_inputs() -> None:
    example = (SimpleNamespace(images=torch.randn(1, WIDTH)),)
    model = FromObject(ACTS["elementwise"][0])
    assert [layer.dense_macs for layer in measure(model, example).layers] == [64, 0, 64]
    with pytest.raises(ValueError, match=f"{ELSEWHERE}.*skip=\\['own'\\]"):
        check_products(model, ["first", "own", "last"], example)


class Sometimes(nn.Module):
    """Leaves a layer to training, or to samples that the router sends there."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.own, self.other, self.kind = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), kind

    def forward(self, x: Tensor) -> Tensor:
        wanted = {"unused": False, "training": self.training, "routed": bool(x.sum() < 0)}
        return self.own(x) if wanted[self.kind] else self.other(x)


@pytest.mark.parametrize("kind", ["unused", "training", "routed"])
def test_a_layer_that_no_sample_reached_is_said_to_be_one(kind: str) -> None:
    with pytest.raises(ValueError, match=r"in a try with a few samples .*training.*skip=\['own'\]"):
        check_products(Sometimes(kind), ["own", "other"], torch.ones(2, WIDTH))


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

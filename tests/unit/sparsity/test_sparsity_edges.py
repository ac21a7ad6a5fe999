"""Gradients away from the kinks, counts by hand, and layers that need care."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from strsweep.sparsity.convert import sparsify
from strsweep.sparsity.measure import measure
from strsweep.sparsity.threshold import SoftThreshold, soft_threshold


def test_gradcheck_away_from_the_kinks() -> None:
    weight = torch.tensor([0.9, -0.8, 0.1, -0.05], dtype=torch.float64, requires_grad=True)
    threshold = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(soft_threshold, (weight, threshold))


@pytest.mark.parametrize("function", ["sigmoid", "exp"])
def test_gradcheck_of_the_threshold_parameter(function: str) -> None:
    layer = SoftThreshold(-1.2, function).double()  # pyright: ignore
    weight = torch.tensor([0.9, -0.8, 0.1], dtype=torch.float64)
    s = layer.s.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: torch.func.functional_call(layer, {"s": s}, (weight,)), (s,)
    )


def test_zeros_counted_by_hand() -> None:
    model = nn.Sequential(nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.1, -0.2, 0.3, 0.0], [-0.9, 0.4, -0.25, 0.26]]))
    # The threshold is 0.255: 0.1, -0.2, 0.0 and -0.25 fall below it.
    sparsify(model, threshold_init=-math.log(1 / 0.255 - 1))
    report = measure(model, torch.zeros(1, 4))
    assert (report.weights, report.zeros, report.dense_macs, report.macs) == (8, 4, 8, 4)
    assert report.layers[0].threshold == pytest.approx(0.255)
    assert all(
        type(total) is int
        for total in (report.weights, report.zeros, report.dense_macs, report.macs)
    )


def test_an_error_halfway_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.LazyLinear(2))
    with pytest.raises((ValueError, RuntimeError)):
        sparsify(model, threshold_init=-3.0)
    assert type(model[0]) is nn.Linear


def test_attention_projections_count_as_work() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x, x, x)[0]

    # Four projections of 8 x 8 meet each of the 5 tokens once.
    assert measure(Attention(), torch.zeros(1, 5, 8)).dense_macs == 4 * 8 * 8 * 5

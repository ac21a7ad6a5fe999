"""The operator and its gradient, by hand and by property."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from strsweep.sparsity.convert import parametrization_of, sparsify
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.threshold import SoftThreshold, ThresholdFunction, soft_threshold

finite = st.floats(-10, 10, width=32)
thresholds = st.floats(0, 5, width=32)


@pytest.mark.parametrize(
    ("weight", "threshold", "expected"),
    [(0.5, 0.2, 0.3), (-0.5, 0.2, -0.3), (0.1, 0.2, 0.0), (0.2, 0.2, 0.0), (0.7, 0.0, 0.7)],
    ids=["shrinks", "keeps_sign", "zeroes_small", "zeroes_equal", "nothing_at_zero"],
)
def test_values_by_hand(weight: float, threshold: float, expected: float) -> None:
    actual = soft_threshold(torch.tensor(weight), torch.tensor(threshold))
    torch.testing.assert_close(actual, torch.tensor(expected))


@given(finite, thresholds)
def test_equals_the_papers_form(weight: float, threshold: float) -> None:
    w, t = torch.tensor(weight), torch.tensor(threshold)
    torch.testing.assert_close(soft_threshold(w, t), w.sign() * torch.relu(w.abs() - t))
    assert (soft_threshold(w, t) == 0) == (w.abs() <= t)


@given(finite, finite, thresholds)
def test_never_moves_two_weights_apart(first: float, second: float, threshold: float) -> None:
    a, b, t = torch.tensor([first, second, threshold], dtype=torch.float64)
    assert (soft_threshold(a, t) - soft_threshold(b, t)).abs() <= (a - b).abs() + 1e-12


def test_pruned_weights_pass_no_gradient_and_the_threshold_gets_the_rest() -> None:
    weight = torch.tensor([0.9, -0.8, 0.1, -0.05], requires_grad=True)
    threshold = torch.tensor(0.2, requires_grad=True)
    upstream = torch.tensor([1.0, 2.0, 3.0, 4.0])
    soft_threshold(weight, threshold).backward(upstream)
    assert weight.grad is not None
    assert threshold.grad is not None
    assert weight.grad.tolist() == [1.0, 2.0, 0.0, 0.0]
    assert threshold.grad.item() == -(1.0 - 2.0)


def test_gradient_of_s_is_the_papers_equation_5() -> None:
    layer = SoftThreshold(-1.5)
    weight = torch.tensor([0.9, -0.8, 0.1])
    upstream = torch.tensor([0.3, 0.7, 5.0])
    layer(weight).backward(upstream)
    sigmoid = 1 / (1 + math.exp(1.5))
    assert layer.s.grad is not None
    assert layer.s.grad.item() == pytest.approx(-sigmoid * (1 - sigmoid) * (0.3 - 0.7), rel=1e-5)


def test_far_below_zero_nothing_is_pruned_and_nothing_breaks() -> None:
    layer = SoftThreshold(-3200.0)
    weight = torch.tensor([1e-30, -1.0, 0.0])
    layer(weight).sum().backward()
    assert layer.threshold.item() == 0
    assert layer(weight).tolist() == weight.tolist()
    assert layer.s.grad is not None
    assert layer.s.grad.item() == 0


def test_only_layers_that_start_at_zero_let_gradients_through() -> None:
    drawn, zeroed = nn.Linear(64, 64), nn.Linear(64, 10)
    nn.init.zeros_(zeroed.weight)
    with torch.no_grad():
        drawn.weight[0, 0] = 0.0  # as a random number is now and then
    model = sparsify(nn.Sequential(drawn, zeroed), threshold_init=-6.0)
    weights = weight_tensors(model)
    plain, zero = (parametrization_of(weight, SoftThreshold) for weight in weights)
    assert plain is not None
    assert zero is not None
    assert plain.lets_through == 0
    assert zero.lets_through == pytest.approx(0.1 / 8)
    model(torch.randn(4, 64)).square().sum().add(model(torch.ones(1, 64)).sum()).backward()
    of_drawn, of_zeroed = (weight.original.grad for weight in weights)
    assert of_drawn is not None
    assert of_zeroed is not None
    assert of_zeroed.ne(0).all()
    assert of_drawn[0, 0] == 0
    with torch.no_grad():
        zero.s.fill_(-2.0)  # a threshold of 0.12 prunes in earnest
    model.zero_grad()
    model(torch.ones(1, 64)).sum().backward()
    of_pruned = weights[1].original.grad
    assert of_pruned is not None
    assert of_pruned.eq(0).all()


def test_gradcheck_away_from_the_kinks() -> None:
    weight = torch.tensor([0.9, -0.8, 0.1, -0.05], dtype=torch.float64, requires_grad=True)
    threshold = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(soft_threshold, (weight, threshold))


@pytest.mark.parametrize("function", ["sigmoid", "exp"])
def test_gradcheck_of_the_threshold_parameter(function: ThresholdFunction) -> None:
    layer = SoftThreshold(-1.2, function).double()
    weight = torch.tensor([0.9, -0.8, 0.1], dtype=torch.float64)
    s = layer.s.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda s: torch.func.functional_call(layer, {"s": s}, (weight,)), (s,)
    )

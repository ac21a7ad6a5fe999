"""Magnitude trainers keep exactly what the budget says, and learn as their papers say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from brought_networks import TiedToEmbedding
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from strsweep.sparsity.budget import Budget
from strsweep.sparsity.convert import bake, sparsify
from strsweep.sparsity.magnitude import LargestWeights, largest, obey, prune_share
from strsweep.sparsity.measure import measure

WEIGHT = torch.tensor([[0.1, -0.9, 0.4], [-0.2, 0.0, 0.5]])


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 5, bias=False))


def test_the_largest_weights_stay() -> None:
    step = LargestWeights(6, density=0.5, straight_through=False)
    torch.testing.assert_close(step(WEIGHT), torch.tensor([[0, -0.9, 0.4], [0, 0, 0.5]]))


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60), st.floats(0, 1))
def test_exactly_as_many_stay_as_asked_for_ties_or_not(values: list[float], density: float) -> None:
    weight = torch.tensor(values)
    count = round(density * len(values))
    mask = largest(weight, count)
    assert mask.sum() == count
    kept, pruned = weight.abs()[mask == 1], weight.abs()[mask == 0]
    assert not len(kept) or not len(pruned) or kept.min() >= pruned.max()


@pytest.mark.parametrize(
    ("method", "gradient"), [("gmp", [[0, 1, 1], [0, 0, 1]]), ("dnw", [[1, 1, 1], [1, 1, 1]])]
)
def test_who_learns(method: Any, gradient: list[list[float]]) -> None:
    layer = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(WEIGHT)
    model = obey(nn.Sequential(layer), {"0": 0.5}, straight_through=method == "dnw")
    model(torch.ones(1, 3)).sum().backward()
    parametrizations: Any = layer.parametrizations
    assert parametrizations.weight.original.grad.tolist() == gradient


def test_a_pruned_weight_comes_back_when_it_grows() -> None:
    layer = nn.Linear(3, 2, bias=False)
    obey(nn.Sequential(layer), {"0": 0.5}, straight_through=True)
    parametrizations: Any = layer.parametrizations
    with torch.no_grad():
        parametrizations.weight.original.copy_(WEIGHT)
        assert layer.weight[1, 1] == 0
        parametrizations.weight.original[1, 1] = 3
        assert layer.weight[1, 1] == 3


@pytest.mark.parametrize("method", ["gmp", "dnw"])
@pytest.mark.parametrize("rule", [Budget.uniform, Budget.erk])
def test_the_budget_is_kept_to_the_weight(method: Any, rule: Any) -> None:
    model = net()
    budget = rule(model, 0.7)
    obey(model, budget.densities, straight_through=method == "dnw")
    report = measure(model)
    pruned = [int((1 - x.density) * x.weights + 1e-6) for x in budget.layers]
    assert [layer.zeros for layer in report.layers] == pruned
    bake(model)
    assert [layer.zeros for layer in measure(model).layers] == pruned
    assert list(model.state_dict()) == list(net().state_dict())
    for layer in (model[0], model[2]):
        assert isinstance(layer, nn.Linear)
        negative_zeros = torch.signbit(layer.weight) & (layer.weight == 0)
        assert not negative_zeros.any(), "-0.0 is no zero to a compressor"


def test_a_share_of_the_budget_is_pruned_at_first() -> None:
    model = obey(nn.Sequential(nn.Linear(100, 100, bias=False)), {"0": 0.1})
    for share in (0, 0.875, 0.999, 1):
        prune_share(model, share)
        assert measure(model).zeros == int(share * 9000)


def test_the_state_remembers_how_much_is_pruned() -> None:
    model = obey(net(), {"0": 0.5, "2": 0.5})
    prune_share(model, 0.3)
    other = obey(net(), {"0": 0.5, "2": 0.5})
    assert measure(other).zeros != measure(model).zeros
    other.load_state_dict(model.state_dict())
    assert measure(other).zeros == measure(model).zeros


def test_a_ramp_on_another_model_changes_nothing() -> None:
    model = sparsify(net(), threshold_init=-3.0)
    zeros = measure(model).zeros
    prune_share(model, 1.0)
    assert measure(model).zeros == zeros
    with pytest.raises(ValueError, match="sparsified already"):
        obey(model, {"0": 0.5, "2": 0.5})


def test_a_layer_that_keeps_everything_is_left_alone() -> None:
    model = obey(TiedToEmbedding(), {"body": 0.5, "head": 1.0})
    assert type(model.head) is nn.Linear
    with pytest.raises(ValueError, match="shares its weight with embedding"):
        obey(TiedToEmbedding(), {"body": 0.5, "head": 0.5})


@pytest.mark.parametrize("method", ["gmp", "dnw"])
def test_gradients_by_function_transform(method: Any) -> None:
    model = obey(net(), {"0": 0.5, "2": 0.5}, straight_through=method == "dnw")
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    x = torch.randn(3, 10)

    def loss(parameters: Any) -> torch.Tensor:
        return torch.func.functional_call(model, parameters, (x,)).square().sum()

    model(x).square().sum().backward()
    gradients = torch.func.grad(loss)(parameters)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad)

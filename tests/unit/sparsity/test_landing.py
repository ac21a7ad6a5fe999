"""Landing meets what is asked to the weight, and leaves an ordinary STR model."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from equal_runs import assert_same_state
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strsweep.sparsity.convert import bake, sparsify, threshold_parameters
from strsweep.sparsity.landing import land
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.measure import SparsityReport, measure
from strsweep.sparsity.steering import steerable

SHAPE = (1, 8, 8)
GRANULARITIES = ["layer", "global", "filter", "weight"]


def net(seed: int = 0, **options: Any) -> nn.Module:
    """Return a network with thresholds of its own everywhere, as training leaves them."""
    torch.manual_seed(seed)
    layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 20), nn.Linear(20, 5)
    model = sparsify(nn.Sequential(*layers), threshold_init=-3.0, **options)
    with torch.no_grad():
        for s in threshold_parameters(model):
            s.add_(torch.randn_like(s), alpha=0.7)
    return model


def layer_of(values: list[float], s: float) -> nn.Linear:
    layer = nn.Linear(len(values), 1, bias=False)
    layer.weight.data = torch.tensor([values])
    return sparsify(layer, threshold_init=s)


def land_twice(model: nn.Module, **target: Any) -> SparsityReport:
    """Land, and prove that nothing is left to be done."""
    report = land(model, **target).after
    landed = {name: value.clone() for name, value in model.state_dict().items()}
    assert land(model, **target).shift == 0
    assert_same_state(dict(model.state_dict()), landed)
    return report


def test_the_shift_by_hand() -> None:
    layer = layer_of([0.1, -0.2, 0.3, 0.4, -0.5], s=math.log(0.25 / 0.75))  # threshold 0.25
    landing = land(layer, sparsity=0.6)
    assert (landing.before.zeros, landing.after.zeros) == (2, 3)
    # Halfway, before the sigmoid, from where 0.3 goes to where 0.4 would.
    level = (math.log(0.3 / 0.7) + math.log(0.4 / 0.6)) / 2
    assert landing.shift == pytest.approx(level - math.log(0.25 / 0.75))
    # What stays keeps its value: 0.4 and -0.5 less the threshold that it was trained with.
    expected = torch.tensor([[0, 0, 0, 0.15, -0.25]])
    torch.testing.assert_close(layer.weight, expected)


def test_multiply_adds_by_hand() -> None:
    # A weight of the convolution is used 2 times, one of the linear layer once.
    for wanted, kept in ((8, 8), (7, 6), (6, 6), (5, 5), (3, 3), (2, 2)):
        model = nn.Sequential(nn.Conv1d(1, 1, 2, bias=False), nn.Linear(2, 2, bias=False))
        model[0].weight.data = torch.tensor([[[0.1, 0.6]]])
        model[1].weight.data = torch.tensor([[0.2, 0.3], [0.4, 0.5]])
        sparsify(model, threshold_init=-10.0)
        landing = land(model, macs=wanted / 8, example=torch.zeros(1, 1, 3))
        assert (landing.after.macs, landing.after.dense_macs) == (kept, 8)


own_thresholds = {
    "seed": st.integers(0, 5),
    "granularity": st.sampled_from(GRANULARITIES),
    "function": st.sampled_from(["sigmoid", "exp"]),
    "scale": st.sampled_from([0.5, 1.0, 3.0]),
}


@settings(max_examples=25)
@given(st.floats(0, 0.999), st.booleans(), st.builds(dict, **own_thresholds))
def test_any_sparsity_is_met_to_the_weight_and_only_once(
    sparsity: float, is_open: bool, options: dict[str, Any]
) -> None:
    if not is_open:
        options, sparsity = {**options, "skip": ("4",)}, sparsity * 5832 / 5932  # 100 stay dense
    model = net(**options)
    report = land_twice(model, sparsity=sparsity)
    assert report.zeros == round(sparsity * report.weights) == measure(model).zeros


@settings(max_examples=25)
@given(st.floats(0.001, 1), st.builds(dict, **own_thresholds))
def test_the_most_multiply_adds_that_are_not_above_the_wanted_ones(
    macs: float, options: dict[str, Any]
) -> None:
    report = land_twice(net(**options), macs=macs, example=torch.zeros(1, *SHAPE))
    assert report.macs is not None
    assert report.dense_macs == 36 * 72 + 5760 + 100
    limit = macs * report.dense_macs
    assert limit - 36 < report.macs <= limit + 1e-3  # a weight of the convolution is used 36 times


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from([0.25, -0.25, 0.5, 0.5000001, 0.75]), min_size=2, max_size=40),
    st.floats(0, 1),
)
def test_equal_weights_are_told_apart(values: list[float], share: float) -> None:
    wanted = min(round(share * len(values)), len(values) - 1)
    layer = layer_of(values, s=-1.0)
    trained = layer.weight.detach().clone()
    assert land(layer, sparsity=wanted / len(values)).after.zeros == wanted
    landed = layer.weight.detach()
    both = (trained != 0) & (landed != 0)
    assert ((landed - trained)[both].abs() < 1e-6).all(), "what stays keeps its value"


@pytest.mark.parametrize("function", ["sigmoid", "exp"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_million_weights_are_met_to_the_weight(function: Any, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1000, 1000), nn.Linear(1000, 500)).to(dtype)
    sparsify(model, threshold_init=-4.0, function=function)
    for sparsity in (0.99, 0.7):
        before = [weight.value.detach().clone() for weight in weight_tensors(model)]
        report = land(model, sparsity=sparsity).after
        assert report.zeros == round(sparsity * report.weights)
        if dtype == torch.float32:
            for old, weight in zip(before, weight_tensors(model), strict=True):
                both = (old != 0) & (weight.value != 0)
                assert both.any()
                assert torch.allclose(weight.value[both], old[both], atol=1e-6, rtol=0)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("sparsity", [0.3, 0.97], ids=["down", "up"])
def test_what_landed_is_an_ordinary_model(granularity: Any, sparsity: float) -> None:
    model = net(granularity=granularity)
    shift = land(model, sparsity=sparsity).shift
    again = net(seed=1, granularity=granularity)
    again.load_state_dict(model.state_dict())
    assert measure(again) == measure(model)
    x = torch.randn(2, *SHAPE)
    torch.testing.assert_close(bake(again)(x), model(x))
    assert measure(again).zeros == round(sparsity * 5932)
    trained = threshold_parameters(net(granularity=granularity))
    for new, old in zip(threshold_parameters(model), trained, strict=True):
        torch.testing.assert_close(new, old + shift, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0.0, 0.5, 0.0, 0.1, 0.2], {0.8: 4, 0.4: 2, 0.2: 2, 0.0: 2, 0.6: 3}),
        ([0.0, 0.0, 1.5, 2.5], {0.25: 2, 0.5: 2}),  # no threshold prunes the others
        ([0.0, 0.0], {0.0: 2}),
        ([0.1, 0.2], {0.0: 0}),
    ],
)
def test_weights_that_are_zero_stay_pruned_and_are_the_first(
    values: list[float], wanted: dict[float, int]
) -> None:
    layer = layer_of(values, s=-1.0)
    for sparsity, zeros in wanted.items():
        landing = land(layer, sparsity=sparsity)
        assert landing.after.zeros == zeros
        assert math.isfinite(landing.shift)
        assert all(parameter.isfinite().all() for parameter in layer.parameters())


def test_weights_above_the_scale_may_be_all_that_is_left() -> None:
    layer = layer_of([0.5, 1.5, 2.5], s=-3.0)
    assert land(layer, sparsity=1 / 3).after.zeros == 1
    with pytest.raises(ValueError, match="weights above the scale"):
        land(layer, sparsity=2 / 3)


def test_too_few_thresholds_are_told() -> None:
    with pytest.raises(ValueError, match="only 172 can be"):
        land(net(skip=("3",)), sparsity=0.9)
    for model in (nn.Linear(3, 3), steerable(nn.Linear(3, 3))):
        with pytest.raises(ValueError, match=r"only thresholds of sparsify\(\)"):
            land(model, sparsity=0.5)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({}, "land on one of sparsity, macs and rank"),
        ({"sparsity": 0.5, "macs": 0.5}, "land on one of sparsity, macs and rank"),
        ({"sparsity": 1.0}, r"use a fraction in \[0, 1\)"),
        ({"sparsity": -0.1}, r"use a fraction in \[0, 1\)"),
        ({"macs": 1.1, "example": torch.zeros(1, *SHAPE)}, r"use a fraction in \[0, 1\)"),
        ({"macs": 0.5}, "give an example"),
    ],
)
def test_wrong_targets_are_told(wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        land(net(), **wanted)


def test_what_has_the_zeros_already_is_left_alone() -> None:
    """Whether it has thresholds or not, and wherever the zeros are."""
    dense = nn.Linear(10, 10, bias=False)
    assert land(dense, sparsity=0.0).shift == 0
    first = nn.Linear(10, 10, bias=False)
    with torch.no_grad():
        first.weight[:8] = 0.0
    model = nn.Sequential(first, nn.Linear(10, 10, bias=False))
    sparsify(model, threshold_init=-20.0, skip=["0"])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    landing = land(model, sparsity=0.4)
    assert (landing.shift, landing.after.zeros) == (0, 80)
    assert_same_state(model.state_dict(), before)
    equal = nn.Linear(10, 10, bias=False)
    nn.init.ones_(equal.weight)
    sparsify(equal, threshold_init=0.0, function="exp")
    assert land(equal, sparsity=0.5).after.zeros == measure(equal).zeros == 50

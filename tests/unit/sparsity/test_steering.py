"""Steered thresholds meet any sparsity to the weight, and keep what the layers learned."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strsweep.sparsity.convert import bake, parametrization_of, sparsify, threshold_parameters
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.measure import measure
from strsweep.sparsity.steering import (
    SteeredThreshold,
    bound_gradients,
    is_out_of_reach,
    steer,
    steerable,
)
from strsweep.sparsity.threshold import soft_threshold

SHAPE = (1, 8, 8)
GRANULARITIES = ["layer", "global", "filter", "weight"]


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 20), nn.Linear(20, 5)
    )


def learned(model: nn.Module) -> nn.Module:
    """Give every threshold parameter a value of its own, as training does."""
    with torch.no_grad():
        for s in threshold_parameters(model):
            s.normal_(std=0.7)
    return model


@settings(max_examples=25)
@given(
    st.floats(0, 0.999),
    st.sampled_from(GRANULARITIES),
    st.sampled_from(["sigmoid", "exp"]),
    st.integers(0, 5),
)
def test_any_sparsity_is_met_to_the_weight(
    sparsity: float, granularity: Any, function: Any, seed: int
) -> None:
    model = learned(steerable(net(seed), granularity=granularity, function=function))
    steer(model, sparsity)
    report = measure(model)
    assert report.zeros == round(sparsity * report.weights)


def test_a_million_weights_are_met_to_the_weight() -> None:
    torch.manual_seed(0)
    model = learned(steerable(nn.Sequential(nn.Linear(1000, 2000), nn.Linear(2000, 500))))
    for sparsity in (0.5, 0.99):
        steer(model, sparsity)
        report = measure(model)
        assert abs(report.zeros - round(sparsity * report.weights)) <= 1
        steer(model, sparsity, exactly=True)
        report = measure(model)
        assert report.zeros == round(sparsity * report.weights)


@settings(max_examples=25)
@given(
    st.floats(0.001, 1),
    st.sampled_from(GRANULARITIES),
    st.sampled_from(["sigmoid", "exp"]),
    st.sampled_from([0.5, 1.0]),
    st.integers(0, 5),
)
def test_the_most_macs_that_are_not_above_the_wanted_ones(
    macs: float, granularity: Any, function: Any, scale: float, seed: int
) -> None:
    model = steerable(net(seed), granularity=granularity, function=function, scale=scale)
    steer(
        learned(model), 1 - macs, measure(model, torch.zeros(1, *SHAPE)).uses("macs"), exactly=True
    )
    report = measure(model, torch.zeros(1, *SHAPE))
    assert report.macs is not None
    assert report.dense_macs is not None
    assert report.macs <= macs * report.dense_macs + 1e-3
    if report.zeros:
        last = last_pruned(model)
        assert report.macs + last > macs * report.dense_macs - 1e-3


def last_pruned(model: nn.Module) -> float:
    """Return the multiply-adds of the weight that the next lower shift would bring back."""
    uses = measure(model, torch.zeros(1, *SHAPE)).uses("macs")
    found: list[tuple[float, float]] = []
    for weight in weight_tensors(model):
        step = parametrization_of(weight, SteeredThreshold)
        assert step is not None
        critical = step.critical(weight.original)[weight.value == 0]
        found += [(value, uses[weight.name]) for value in critical.tolist()]
    return max(found)[1]


def test_dense_layers_count_among_the_macs() -> None:
    model = steerable(net(), skip=("0",))  # 2,592 of 8,452 multiply-adds stay
    uses = measure(model, torch.zeros(1, *SHAPE)).uses("macs")
    assert uses == {"0": 36, "3": 1, "4": 1}
    steer(model, 0.6, uses)
    report = measure(model, torch.zeros(1, *SHAPE))
    assert (report.macs, report.dense_macs) == (3380, 8452)  # 0.4 * 8452 = 3380.8
    with pytest.raises(ValueError, match=r"7607 of 8452 multiply-adds .* only 5860 can be"):
        steer(model, 0.9, uses)


def test_equal_weights_are_told_apart() -> None:
    layer = nn.Linear(10, 10, bias=False)
    layer.weight.data = torch.full((10, 10), 0.5)
    steer(steerable(layer), 0.33)
    assert measure(layer).zeros == 100
    steer(layer, 0.33, exactly=True)
    assert measure(layer).zeros == 33
    assert weight_tensors(layer)[0].original.max() == 0.5 + 2**-24


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_the_shift_stays_precise(granularity: Any) -> None:
    for model in (steerable(net(), granularity=granularity).float(), steerable(net()).half()):
        for weight in weight_tensors(model):
            step = parametrization_of(weight, SteeredThreshold)
            assert step is not None
            assert step.offset.dtype == step.threshold.dtype == torch.float64


def test_weights_above_the_scale_are_out_of_reach_of_a_sigmoid() -> None:
    layer = nn.Linear(10, 10, bias=False)
    layer.weight.data = torch.linspace(0.011, 1.1, 100).view(10, 10)
    cases: list[tuple[Any, bool]] = [("sigmoid", True), ("exp", False)]
    for function, out_of_reach in cases:
        model = steerable(copy.deepcopy(layer), function=function)
        steer(model, 0.5)
        assert not is_out_of_reach(model)
        steer(model, 0.95)
        assert is_out_of_reach(model) == out_of_reach
    assert not is_out_of_reach(net())


@pytest.mark.parametrize("function", ["sigmoid", "exp"])
@pytest.mark.parametrize("zeros", [0, 3])
@pytest.mark.parametrize("above", [0, 2])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.8])
def test_zeros_and_weights_above_the_scale_leave_the_network_finite(
    function: Any, zeros: int, above: int, share: float
) -> None:
    """The cut lies between two finite values, or beside an infinite one, or between two such."""
    layer = nn.Linear(10, 1, bias=False)
    values = [0.0] * zeros + [0.1 * k for k in range(1, 11 - zeros - above)] + [1.5] * above
    layer.weight.data = torch.tensor([values])
    if zeros and above:  # nothing lies between
        layer.weight.data = torch.tensor([[0.0] * 5 + [1.5] * 5])
    model = steerable(layer, function=function)
    already, most = int((layer.weight == 0).sum()), 10 - int((layer.weight > 1).sum())
    steer(model, share, exactly=True)
    wanted = max(already, round(10 * share))
    assert is_out_of_reach(model) == (function == "sigmoid" and wanted > most)
    if not is_out_of_reach(model):
        assert measure(model).zeros == wanted
        (weight,) = weight_tensors(model)
        weight.value.square().sum().backward()
        assert all(p.isfinite().all() for p in model.parameters())
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        assert all(
            step.offset.isfinite()
            for step in [parametrization_of(weight, SteeredThreshold)]
            if step
        )


def test_the_shift_is_the_same_for_all_layers() -> None:
    model = learned(steerable(net()))
    s = [parameter.item() for parameter in threshold_parameters(model)]
    steer(model, 0.8)
    levels = [torch.logit(torch.tensor(layer.threshold)).item() for layer in measure(model).layers]
    shifts = [level - own for level, own in zip(levels, s, strict=True)]
    assert max(shifts) - min(shifts) < 1e-4


def test_equal_thresholds_prune_the_smallest_weights_of_all() -> None:
    model = net()
    magnitudes = torch.cat([
        p.abs().flatten() for n, p in model.named_parameters() if "bias" not in n
    ])
    steer(steerable(model), 0.7)
    count = measure(model).zeros
    cut = magnitudes.sort().values[count - 1 : count + 1].mean()
    bake(model)
    for weight in (model[0].weight, model[3].weight, model[4].weight):
        expected = soft_threshold(dict(net().named_parameters())[name_of(model, weight)], cut)
        torch.testing.assert_close(weight, expected, atol=1e-5, rtol=0)


def name_of(model: nn.Module, weight: torch.Tensor) -> str:
    return next(name for name, value in model.named_parameters() if value is weight)


def test_nothing_is_pruned_before_it_is_steered() -> None:
    model = steerable(net())
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(model(x), net()(x))
    assert measure(model).zeros == 0


def test_the_shift_is_part_of_the_state() -> None:
    model = learned(steerable(net()))
    steer(model, 0.6)
    again = steerable(net())
    again.load_state_dict(model.state_dict())
    assert measure(again) == measure(model)
    assert measure(copy.deepcopy(model)) == measure(model)


def test_thresholds_learn_and_weights_keep_their_type() -> None:
    model = steerable(net())
    steer(model, 0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(torch.randn(4, 1, 8, 8)).float().square().sum()
    loss.backward()
    for s in threshold_parameters(model):
        assert s.dtype == torch.float32
        assert s.grad is not None
        assert s.grad.abs().max() > 0
    half = steerable(net().half())
    steer(half, 0.5)
    assert half[4].weight.dtype == torch.float16


def test_what_cannot_be_reached_is_told() -> None:
    model = steerable(net(), skip=("3",))  # 5,760 of 5,932 weights
    with pytest.raises(ValueError, match="only 172 can be"):
        steer(model, 0.9)
    steer(model, 0.02)
    assert measure(model).zeros == round(0.02 * 5932)
    with pytest.raises(ValueError, match="no thresholds to set"):
        steer(sparsify(net(), threshold_init=-3.0), 0.9)
    with pytest.raises(ValueError, match="granularity: got 'kernel'"):
        steerable(net(), granularity="kernel")  # pyright: ignore


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_steep_gradients_move_thresholds_by_no_more_than_the_rate(granularity: Any) -> None:
    model = learned(steerable(net(), granularity=granularity))
    levels = threshold_parameters(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    bound_gradients(model, optimizer)
    before = {parameter: parameter.detach().clone() for parameter in model.parameters()}
    for slope in (-25.0, 0.25, 3.0):
        for parameter in before:
            parameter.grad = torch.full_like(parameter, slope)
        optimizer.step()
    for parameter, first in before.items():
        is_level = any(parameter is level for level in levels)
        slopes = -1 + 0.25 + 1 if is_level else -25 + 0.25 + 3
        torch.testing.assert_close(parameter.detach(), first - 0.5 * slopes)


def test_a_gradient_is_bounded_after_its_scale_is_taken_away() -> None:
    model = steerable(net())
    levels = threshold_parameters(model)
    optimizer = torch.optim.SGD(levels, lr=1.0)
    bound_gradients(model, optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for slope in (0.25, 7.0, torch.inf):  # the scaler leaves the last step out
        optimizer.zero_grad()
        scaler.scale(torch.stack([level * slope for level in levels]).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
    assert [level.item() for level in levels] == [-1.25] * len(levels)


def test_thresholds_that_are_not_steered_keep_their_gradients() -> None:
    model = sparsify(net(), threshold_init=-5.0)
    levels = threshold_parameters(model)
    optimizer = torch.optim.SGD(levels, lr=1.0)
    bound_gradients(model, optimizer)
    for level in levels:
        level.grad = torch.full_like(level, -25.0)
    optimizer.step()
    assert [level.item() for level in levels] == [20.0] * len(levels)

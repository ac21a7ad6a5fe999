"""A scheduled threshold is the quantile of all magnitudes, exactly, and its gradient by hand."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from strsweep.sparsity.convert import bake, parametrization_of, threshold_parameters
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.measure import measure
from strsweep.sparsity.steering import ScheduledThreshold, schedulable, steer

SHAPE = (1, 8, 8)


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 20), nn.Linear(20, 5)
    )


def rounded(model: nn.Module, steps: int) -> nn.Module:
    """Let many weights of ``model`` be equal."""
    with torch.no_grad():
        for weight in weight_tensors(model):
            weight.original.mul_(steps).round_().div_(steps)
    return model


def threshold(model: nn.Module) -> float:
    (found,) = {
        step.threshold.item()
        for weight in weight_tensors(model)
        if (step := parametrization_of(weight, ScheduledThreshold))
    }
    return found


def test_values_and_scale_by_hand() -> None:
    layer = nn.Linear(4, 2, bias=False)
    layer.weight.data = torch.tensor([[0.5, -0.3, 0.1, 0.1], [0.2, -0.2, 0.05, 0.05]])
    steer(schedulable(layer), 4 / 8)  # up to 0.1
    assert threshold(layer) == pytest.approx(0.1)
    # Of the first filter 0.8 of 1.0 is kept, of the second 0.4 of 0.5.
    scale = 1.01 / 0.81
    expected = torch.tensor([[0.4, -0.2, 0, 0], [0.1, -0.1, 0, 0]]) * scale
    torch.testing.assert_close(layer.weight, expected)


@pytest.mark.parametrize("is_damped", [True, False], ids=["damped", "published"])
def test_the_gradient_by_hand(is_damped: bool) -> None:
    layer = nn.Linear(4, 2, bias=False)
    layer.weight.data = torch.tensor([[0.5, -0.3, 0.1, 0.1], [0.02, 0.02, 0.05, 0.05]])
    steer(schedulable(layer, is_damped=is_damped), 6 / 8)
    upstream = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    layer.weight.backward(upstream)
    # The kept weights get it as it is; damped, the pruned ones of a filter of which 0.6 of 1.0 is
    # left get 0.6 of it, and those of a filter of which nothing is left get none.
    damped = torch.tensor([[1.0, 2.0, 1.8, 2.4], [0.0, 0.0, 0.0, 0.0]])
    expected = damped if is_damped else upstream
    gradient = weight_tensors(layer)[0].original.grad
    assert gradient is not None
    torch.testing.assert_close(gradient, expected)


def test_the_filters_of_a_transposed_convolution_are_on_its_second_axis() -> None:
    layer = nn.ConvTranspose2d(2, 2, 1, bias=False)
    layer.weight.data = torch.tensor([[0.9, 0.2], [0.1, 0.3]]).view(2, 2, 1, 1)
    steer(schedulable(layer), 1 / 4)  # the 0.1: of the first filter 0.9 of 1.0 is kept
    scales = torch.tensor([1.01 / 0.91, 1.0])
    expected = torch.tensor([[0.8, 0.1], [0.0, 0.2]]) * scales
    torch.testing.assert_close(layer.weight.view(2, 2), expected)


@settings(max_examples=25)
@given(st.floats(0, 0.999), st.sampled_from([3, 30, 1000]), st.integers(0, 5))
def test_any_sparsity_is_met_to_the_weight_however_many_are_equal(
    sparsity: float, steps: int, seed: int
) -> None:
    model = schedulable(rounded(net(seed), steps))
    already = sum(int((w.original == 0).sum()) for w in weight_tensors(model))
    steer(model, sparsity, exactly=True)
    report = measure(model)
    assert report.zeros == max(already, round(sparsity * report.weights))


@settings(max_examples=25)
@given(st.floats(0.001, 1), st.sampled_from([30, 10**6]), st.integers(0, 5))
def test_the_most_macs_that_are_not_above_the_wanted_ones(
    macs: float, steps: int, seed: int
) -> None:
    model = schedulable(rounded(net(seed), steps))
    zeros = sum(int((w.original == 0).sum()) for w in weight_tensors(model))
    steer(model, 1 - macs, measure(model, torch.zeros(1, *SHAPE)).uses("macs"), exactly=True)
    report = measure(model, torch.zeros(1, *SHAPE))
    assert report.macs is not None
    assert report.dense_macs is not None
    wanted = macs * report.dense_macs
    assert report.macs <= wanted + 1e-3
    if report.zeros > zeros:  # the last weight has a price of 1, or of 36 in the convolution
        assert report.macs + 36 > wanted - 1e-3


def test_equal_weights_are_moved_by_the_least_step_only() -> None:
    model = schedulable(rounded(net(), 30))
    before = [weight.original.clone() for weight in weight_tensors(model)]
    steer(model, 0.7, exactly=True)
    for weight, old in zip(weight_tensors(model), before, strict=True):
        torch.testing.assert_close(weight.original.detach(), old, rtol=2e-7, atol=0)


def test_nothing_is_pruned_at_first_and_the_outputs_are_those_of_the_dense_model() -> None:
    model, x = schedulable(net()), torch.randn(2, *SHAPE)
    torch.testing.assert_close(model(x), net()(x))
    steer(model, 0.5)
    steer(model, 0.0)
    torch.testing.assert_close(model(x), net()(x))
    assert measure(model).zeros == 0


def test_baked_values_are_those_that_were_multiplied_with() -> None:
    model, x = schedulable(net()), torch.randn(2, *SHAPE)
    steer(model, 0.9)
    outputs, values = model(x), [weight.value.detach() for weight in weight_tensors(model)]
    report = measure(model)
    bake(model)
    assert torch.equal(model(x), outputs)
    for weight, value in zip(weight_tensors(model), values, strict=True):
        assert weight.is_plain
        assert torch.equal(weight.original, value)
    assert list(model.state_dict()) == list(net().state_dict())
    assert measure(model).zeros == report.zeros


def test_a_filter_of_zeros_stays_finite() -> None:
    model = net()
    weight_tensors(model)[0].original.data[0] = 0
    steer(schedulable(model), 0.5)
    loss = model(torch.randn(2, *SHAPE)).square().sum()
    loss.backward()
    for weight in weight_tensors(model):
        assert torch.isfinite(weight.value).all()
        assert weight.original.grad is not None
        assert torch.isfinite(weight.original.grad).all()


def test_there_is_nothing_to_learn_and_the_threshold_is_part_of_the_state() -> None:
    model = schedulable(net())
    assert threshold_parameters(model) == []
    steer(model, 0.6)
    again = schedulable(net())
    again.load_state_dict(model.state_dict())
    assert measure(again, torch.zeros(1, *SHAPE)) == measure(model, torch.zeros(1, *SHAPE))
    assert threshold(again) == threshold(model) == threshold(copy.deepcopy(model)) > 0


def test_compiled_values_and_gradients_are_the_plain_ones() -> None:
    found: list[list[Tensor]] = []
    for compiled in (False, True):
        layer = nn.Linear(20, 10, bias=False)
        torch.manual_seed(1)
        layer.weight.data = torch.randn(10, 20)
        steer(schedulable(layer), 0.7)
        run = torch.compile(layer, backend="aot_eager") if compiled else layer
        loss = run(torch.linspace(-1, 1, 60).view(3, 20)).square().sum()
        loss.backward()
        gradient = weight_tensors(layer)[0].original.grad
        assert gradient is not None
        found.append([loss.detach(), gradient])
    torch.testing.assert_close(found[1], found[0])


def test_what_cannot_be_reached_is_told() -> None:
    model = schedulable(net(), skip=("3",))  # 5,760 of 5,932 weights, 5,760 of 8,452 multiply-adds
    with pytest.raises(ValueError, match="5339 of 5932 weights are to be pruned, but only 172 can"):
        steer(model, 0.9)
    uses = measure(model, torch.zeros(1, *SHAPE)).uses("macs")
    assert uses == {"0": 36, "3": 1, "4": 1}
    with pytest.raises(ValueError, match=r"7607 of 8452 multiply-adds .* only 2692 can be"):
        steer(model, 0.9, uses)
    steer(model, 0.3, uses)
    with pytest.raises(ValueError, match="no thresholds to set"):
        steer(net(), 0.9)

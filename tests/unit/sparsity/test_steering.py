"""Steered thresholds meet any sparsity to the weight, and keep what the layers learned."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strsweep.sparsity import (
    bake,
    measure,
    soft_threshold,
    sparsify,
    steer,
    steerable,
    threshold_parameters,
)

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


@settings(max_examples=40)
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
    for sparsity in (0.5, 0.9, 0.99, 0.999):
        steer(model, sparsity)
        report = measure(model)
        assert abs(report.zeros - round(sparsity * report.weights)) <= 1


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
    with pytest.raises(ValueError, match="no steered thresholds"):
        steer(sparsify(net(), threshold_init=-3.0), 0.9)
    with pytest.raises(ValueError, match="granularity: got 'kernel'"):
        steerable(net(), granularity="kernel")  # pyright: ignore

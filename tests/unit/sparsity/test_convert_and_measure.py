"""Any stock model becomes sparse and plain again; every zero and multiply-add is counted."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from strsweep.sparsity.convert import bake, sparsify
from strsweep.sparsity.measure import measure


def test_measuring_leaves_modes_and_statistics_alone() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    model.train()
    model[1].eval()
    before = copy.deepcopy(model.state_dict())
    measure(model, torch.zeros(1, 1, 8, 8))
    assert [module.training for module in model] == [True, False, True]
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_without_an_example_macs_are_unknown() -> None:
    report = measure(nn.Linear(3, 2))
    assert (report.weights, report.macs, report.dense_macs) == (6, None, None)
    assert report.layers[0].threshold is None


def test_skipped_layers_stay_dense() -> None:
    model = models.resnet18(num_classes=5)
    sparsify(model, threshold_init=0.5, skip=("conv1", "layer1.*", "fc"))
    dense = [layer.name for layer in measure(model).layers if layer.threshold is None]
    assert dense == ["conv1", *(f"layer1.{i}.conv{j}" for i in (0, 1) for j in (1, 2)), "fc"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": ("layer9.*",)}, "matches no layer"),
        ({"skip": ("*",)}, "no convolution or linear layer"),
        ({"function": "tanh"}, "function: got 'tanh'"),
        ({"granularity": "kernel"}, "granularity: got 'kernel'"),
        ({"scale": 0.0}, "scale: got 0.0"),
    ],
    ids=["pattern", "all_skipped", "function", "granularity", "scale"],
)
def test_refused_and_left_as_it_was(options: dict[str, Any], message: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    names = list(model.state_dict())
    with pytest.raises(ValueError, match=message):
        sparsify(model, threshold_init=-5.0, **options)
    assert list(model.state_dict()) == names
    sparsify(model, threshold_init=-5.0)
    with pytest.raises(ValueError, match="sparsified already"):
        sparsify(model, threshold_init=-5.0)


def test_a_model_without_weights_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="to measure"):
        measure(nn.ReLU())


def test_baking_a_copy_leaves_the_original_alone() -> None:
    """An average of weights is a deep copy: torch's parametrized classes are shared with it."""
    torch.manual_seed(0)
    model = sparsify(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), threshold_init=-2)
    inputs = torch.randn(3, 4)
    before = model(inputs)
    copied = bake(copy.deepcopy(model))
    assert torch.equal(copied(inputs), before)
    assert torch.equal(model(inputs), before)
    assert {type(layer) for layer in copied} == {nn.Linear, nn.ReLU}
    assert torch.equal(bake(model)(inputs), before)


def test_zeros_counted_by_hand() -> None:
    model = nn.Sequential(nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.1, -0.2, 0.3, 0.0], [-0.9, 0.4, -0.25, 0.26]]))
    # The threshold is 0.255: 0.1, -0.2, 0.0 and -0.25 fall below it.
    sparsify(model, threshold_init=-math.log(1 / 0.255 - 1))
    report = measure(model, torch.zeros(1, 4))
    assert (report.weights, report.zeros, report.dense_macs, report.macs) == (8, 4, 8, 4)
    assert report.layers[0].threshold == pytest.approx(0.255)
    assert {type(total) for total in (report.zeros, report.dense_macs, report.macs)} == {int}

"""Any stock model becomes sparse and plain again; every zero and multiply-add is counted."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from strsweep.sparsity.convert import bake, sparsify, threshold_parameters
from strsweep.sparsity.measure import measure


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit_b_16"])
def test_baked_torchvision_model_is_plain_and_equal(name: str) -> None:
    torch.manual_seed(0)
    model = models.get_model(name, num_classes=7).eval()
    plain_names = set(model.state_dict())
    # Above the median magnitude of most layers, below the largest: some weights stay.
    sparsify(model, threshold_init=-4.0)
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        before, report = model(x), measure(model)
        bake(model)
        assert torch.equal(model(x), before)
    assert set(model.state_dict()) == plain_names
    assert 0 < report.zeros < report.weights
    assert measure(model).zeros == report.zeros
    assert not threshold_parameters(model)


def test_resnet50_counts_are_the_papers() -> None:
    report = measure(models.resnet50(), torch.zeros(1, 3, 224, 224))
    fc_weights = 2048 * 1000
    assert report.weights == 25_502_912
    assert report.dense_macs == 4_089_184_256
    assert report.layers[-1].dense_macs == fc_weights
    assert len(report.layers) == 54


@pytest.mark.parametrize(
    ("layer", "shape", "positions"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (3, 10, 12), 10 * 12),
        (nn.Conv2d(3, 8, 3, stride=2), (3, 11, 11), 5 * 5),
        (nn.Conv2d(4, 8, 3, groups=4, dilation=2), (4, 10, 10), 6 * 6),
        (nn.Conv1d(2, 4, 3), (2, 9), 7),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (4, 5, 7), 5 * 7),
        (nn.Linear(6, 3), (5, 6), 5),
    ],
    ids=["padded", "strided", "grouped_dilated", "1d", "transposed", "linear_on_tokens"],
)
def test_macs_by_hand(layer: nn.Module, shape: tuple[int, ...], positions: int) -> None:
    weight: Any = layer.weight
    with torch.no_grad():
        weight.view(-1)[:5] = 0
    report = measure(layer, torch.zeros(1, *shape))
    assert report.dense_macs == weight.numel() * positions
    assert report.macs == (weight.numel() - 5) * positions
    assert isinstance(report.macs, int)


def test_a_layer_used_twice_counts_once_as_weights_and_twice_as_work() -> None:
    shared = nn.Linear(4, 4, bias=False)
    report = measure(nn.Sequential(shared, nn.ReLU(), shared), torch.zeros(1, 4))
    assert (report.weights, report.dense_macs) == (16, 32)


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


def test_a_model_is_sparsified_once() -> None:
    model = sparsify(nn.Sequential(nn.Linear(2, 2)), threshold_init=-5.0)
    with pytest.raises(ValueError, match="sparsified already"):
        sparsify(model, threshold_init=-5.0)


def test_a_model_without_weights_cannot_be_measured() -> None:
    with pytest.raises(ValueError, match="to measure"):
        measure(nn.ReLU())


def test_the_threshold_shows_when_printed() -> None:
    model = sparsify(nn.Sequential(nn.Linear(2, 2)), threshold_init=0.0)
    assert "threshold=5.000e-01, shape=[], function=sigmoid" in repr(model)

"""The networks of the paper have its sizes, its strides and its initialization."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from strsweep.models import build
from strsweep.sparsity.measure import measure

RESNET20_MACS = (
    1024 * (432 + 6 * 2304) + 256 * (4608 + 5 * 9216 + 512) + 64 * (18432 + 5 * 36864 + 2048) + 640
)
"""Stages of 32^2, 16^2 and 8^2 positions; their first convolution already runs on them."""


@pytest.mark.parametrize(
    ("name", "num_classes", "size", "tensors", "weights", "macs"),
    [
        ("resnet50", 1000, 224, 54, 25_502_912, 4_089_184_256),  # table 1, exactly
        ("mobilenet_v1", 1000, 224, 28, 4_209_088, 568_740_352),  # table 2, exactly
        # torchvision's 11,689,512 parameters without 9,600 of batch norm and 1,000 biases.
        ("resnet18", 1000, 224, 21, 11_678_912, 1_814_073_344),
        # 432 + 6 * 2,304 + (4,608 + 5 * 9,216) + (18,432 + 5 * 36,864) + (512 + 2,048) + 640
        ("resnet20", 10, 32, 22, 270_896, RESNET20_MACS),
    ],
)
def test_size_is_the_papers(
    name: str, num_classes: int, size: int, tensors: int, weights: int, macs: int
) -> None:
    model = build(name, num_classes=num_classes)
    report = measure(model, torch.zeros(1, 3, size, size))
    assert (len(report.layers), report.weights, report.dense_macs) == (tensors, weights, macs)
    # Beside the weights there is nothing but scale and shift of the batch norms: no bias anywhere.
    norms = sum(2 * layer.num_features for layer in layers_of(model, nn.BatchNorm2d))
    assert sum(parameter.numel() for parameter in model.parameters()) == weights + norms


def layers_of(model: nn.Module, kind: Any) -> list[Any]:
    return [layer for layer in model.modules() if isinstance(layer, kind)]


def test_mobilenet_layers_are_the_papers_table_row_by_row() -> None:
    # Appendix table 8: every second layer is depthwise.
    report = measure(build("mobilenet_v1", num_classes=1000), torch.zeros(1, 3, 224, 224))
    rows = [(layer.weights, layer.dense_macs) for layer in report.layers]
    assert rows[:5] == [
        (864, 10838016),
        (288, 3612672),
        (2048, 25690112),
        (576, 1806336),
        (8192, 25690112),
    ]
    assert rows[23:] == [
        (4608, 225792),
        (524288, 25690112),
        (9216, 451584),
        (1048576, 51380224),
        (1024000, 1024000),
    ]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_names_are_torchvisions_without_the_bias(name: str) -> None:
    ours = build(name, num_classes=10).state_dict()
    theirs = build(f"torchvision:{name}", num_classes=10).state_dict()
    assert theirs.keys() - ours.keys() == {"fc.bias"}
    assert all(ours[key].shape == theirs[key].shape for key in ours)


def test_the_stride_of_a_bottleneck_is_in_its_3x3_convolution() -> None:
    model: Any = build("resnet50", num_classes=10)
    first = [stage[0] for stage in (model.layer1, model.layer2, model.layer3, model.layer4)]
    strides = [
        (block.conv1.stride[0], block.conv2.stride[0], block.conv3.stride[0]) for block in first
    ]
    assert strides == [(1, 1, 1), (1, 2, 1), (1, 2, 1), (1, 2, 1)]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20"])
def test_resnet_weights_are_kaiming_normal_over_their_inputs(name: str) -> None:
    torch.manual_seed(0)
    model = build(name, num_classes=1000)
    weights = [layer.weight for layer in layers_of(model, nn.Conv2d | nn.Linear)]
    for weight in weights:
        expected = math.sqrt(2 / weight[0].numel())
        # Five times the standard error of the estimate, or 2 %.
        tolerance = max(0.02, 5 / math.sqrt(2 * weight.numel()))
        assert weight.std().item() == pytest.approx(expected, rel=tolerance)
    pooled = torch.cat([(w * math.sqrt(w[0].numel() / 2)).flatten() for w in weights])
    assert pooled.std().item() == pytest.approx(1, rel=0.02)
    assert pooled.square().square().mean().item() == pytest.approx(3, rel=0.05), "not normal"


def test_mobilenet_starts_as_torch_does_except_for_the_last_layer() -> None:
    torch.manual_seed(0)
    model = build("mobilenet_v1", num_classes=1000)
    (fc,) = layers_of(model, nn.Linear)
    assert fc.weight.std().item() == pytest.approx(math.sqrt(2 / 1024), rel=0.02)
    for convolution in layers_of(model, nn.Conv2d):
        bound = 1 / math.sqrt(convolution.weight[0].numel())  # uniform in +-1/sqrt(fan_in)
        assert convolution.weight.abs().max() <= bound
        if convolution.weight.numel() > 2000:
            expected = bound / math.sqrt(3)
            assert convolution.weight.std().item() == pytest.approx(expected, rel=0.05)


def test_the_cifar_stem_keeps_the_size_of_the_image() -> None:
    model: Any = build("resnet18", num_classes=10, stem="cifar")
    sizes: list[int] = []
    model.layer1.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[-1]))
    model.layer4.register_forward_hook(lambda _, __, output: sizes.append(output.shape[-1]))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    assert sizes == [32, 4]
    # The 7x7 convolution became 3x3, and the last layer has 10 classes.
    expected = 11_678_912 - 64 * 3 * (49 - 9) - 990 * 512
    report = measure(model, torch.zeros(1, 3, 32, 32))
    assert report.weights == expected
    assert report.layers[0].dense_macs == 32 * 32 * 64 * 27


@pytest.mark.parametrize("size", [64, 97, 160])
def test_mobilenet_takes_other_sizes(size: int) -> None:
    assert build("mobilenet_v1", num_classes=5)(torch.zeros(2, 3, size, size)).shape == (2, 5)


def test_mobilenet_width_scales_the_channels() -> None:
    half = build("mobilenet_v1", num_classes=1000, width=0.5)
    widths = [layer.out_channels for layer in layers_of(half, nn.Conv2d)]
    assert (widths[0], widths[2], widths[-1]) == (16, 32, 512)
    thin = build("mobilenet_v1", num_classes=10, width=0.01)
    assert {layer.out_channels for layer in layers_of(thin, nn.Conv2d)} == {8, 10}

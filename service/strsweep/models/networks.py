"""Networks by the paper's recipes, He's ResNet-20, and a small one for digits.

The paper's ResNets differ from torchvision's in two points (appendix A.7, and the authors' code):
the last layer has no bias, and every weight starts Kaiming normal over its inputs. The parameter
names are torchvision's, so their weights load into each other.
"""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise
from typing import Any, Literal

from torch import nn

Stem = Literal["imagenet", "cifar"]
Norm = Literal["batch", "group"]
_WIDTHS, _STRIDES = (
    (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024),
    (1, 2, 1, 2, 1, 2, *[1] * 5, 2, 1),
)
"""Of the 13 blocks of MobileNetV1 at width 1: outputs, and stride of the depthwise convolution."""
_STEM_CHANNELS = 32
_FEWEST_CHANNELS = 8


def resnet18(num_classes: int = 1000, *, stem: Stem = "imagenet") -> nn.Module:
    """Build ResNet18: 2, 2, 2, 2 basic blocks.

    Args:
        num_classes: Outputs.
        stem: ``imagenet``: 7x7 convolution of stride 2 and max pooling; ``cifar``: 3x3
            convolution of stride 1 without pooling, for images of about 32 pixels.
    """
    from torchvision.models.resnet import BasicBlock  # a second of import that digits do not need

    return _resnet(BasicBlock, [2, 2, 2, 2], num_classes, stem)


def resnet50(num_classes: int = 1000, *, stem: Stem = "imagenet") -> nn.Module:
    """Build ResNet50: 3, 4, 6, 3 bottlenecks whose 3x3 convolution carries the stride ("v1.5").

    With 1000 classes it has the paper's 25,502,912 weights and 4,089,184,256 multiply-adds at
    224x224 (table 1).
    """
    from torchvision.models.resnet import Bottleneck

    return _resnet(Bottleneck, [3, 4, 6, 3], num_classes, stem)


def resnet20(num_classes: int = 10) -> nn.Module:
    """Build He's ResNet-20 for 32x32 images: three stages of three basic blocks, 16 to 64 channels.

    He et al. (arXiv 1512.03385, section 4.2) carry the image over a change of size without weights
    (option A). Here a 1x1 convolution does it (option B), as in all larger ResNets: 2,560 more
    weights, 270,896 in all with 10 classes.
    """
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    stages["conv1"] = nn.Conv2d(3, 16, 3, padding=1, bias=False)
    stages["bn1"] = nn.BatchNorm2d(16)
    stages["relu"] = nn.ReLU(inplace=True)
    for index, (inputs, outputs) in enumerate(pairwise([16, 16, 32, 64]), start=1):
        stages[f"layer{index}"] = _stage(inputs, outputs, blocks=3)
    stages["avgpool"] = nn.AdaptiveAvgPool2d(1)
    stages["flatten"] = nn.Flatten()
    stages["fc"] = nn.Linear(64, num_classes, bias=False)
    model = nn.Sequential(stages)
    _initialize(model)
    return model


def _resnet(block: Any, blocks: list[int], num_classes: int, stem: Stem) -> nn.Module:
    from torchvision.models import ResNet

    if stem not in {"imagenet", "cifar"}:
        raise ValueError(f"stem: got {stem!r}, use 'imagenet' or 'cifar'")
    model = ResNet(block, blocks, num_classes=num_classes)
    model.fc = nn.Linear(model.fc.in_features, num_classes, bias=False)
    if stem == "cifar":
        model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
    _initialize(model)
    return model


def _stage(inputs: int, outputs: int, *, blocks: int) -> nn.Module:
    from torchvision.models.resnet import BasicBlock

    stride = 1 if inputs == outputs else 2
    shortcut = None
    if stride > 1:
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )
    first = BasicBlock(inputs, outputs, stride, shortcut)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs) for _ in range(blocks - 1)))


def _initialize(model: nn.Module) -> None:
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")


def mobilenet_v1(num_classes: int = 1000, *, width: float = 1.0) -> nn.Module:
    """One convolution, 13 blocks of a depthwise and a pointwise convolution, and a linear layer.

    With 1000 classes and width 1 it has the paper's 4,209,088 weights in 28 tensors and
    568,740,352 multiply-adds at 224x224 (table 2). As in the authors' code, only the last layer,
    which has no bias, starts Kaiming normal; the convolutions keep torch's own initialization.

    ``width`` multiplies the channels of every layer.
    """
    if not width > 0:
        raise ValueError(f"width: got {width}, use a number above 0")
    channels = _scaled(_STEM_CHANNELS, width)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["stem"] = _convolution(3, channels, stride=2)
    for index, (outputs, stride) in enumerate(zip(_WIDTHS, _STRIDES, strict=True), start=1):
        inputs, channels = channels, _scaled(outputs, width)
        layers[f"block{index}"] = nn.Sequential(
            OrderedDict[str, nn.Module](
                depthwise=_convolution(inputs, inputs, stride=stride, groups=inputs),
                pointwise=_convolution(inputs, channels, kernel=1),
            )
        )
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    fc = layers["fc"] = nn.Linear(channels, num_classes, bias=False)
    nn.init.kaiming_normal_(fc.weight, mode="fan_in", nonlinearity="relu")
    return nn.Sequential(layers)


def _scaled(channels: int, width: float) -> int:
    return max(int(channels * width), _FEWEST_CHANNELS)


def _convolution(
    inputs: int,
    outputs: int,
    *,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    norm: Norm = "batch",
) -> nn.Module:
    padding, is_batch = kernel // 2, norm == "batch"
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=nn.Conv2d(
                inputs, outputs, kernel, stride, padding=padding, groups=groups, bias=False
            ),
            norm=nn.BatchNorm2d(outputs)
            if is_batch
            else nn.GroupNorm(max(outputs // 8, 1), outputs),
            relu=nn.ReLU(inplace=True),
        )
    )


def digits_cnn(
    num_classes: int = 10, *, width: int = 16, blocks: int = 2, norm: Norm = "batch"
) -> nn.Module:
    """Five 3x3 convolutions of width w, 2w, 2w, 4w, 4w, then average pooling and a linear layer.

    Args:
        num_classes: Outputs.
        width: w.
        blocks: Convolutions of width 2w, and of width 4w; the first of each halves the image.
        norm: ``batch``, or ``group`` (8 channels a group) for statistics of one image alone.
    """
    if width < 1 or blocks < 1:
        raise ValueError(f"width, blocks: got {width}, {blocks}, use 1 or more")
    if norm not in {"batch", "group"}:
        raise ValueError(f"norm: got {norm!r}, use 'batch' or 'group'")
    channels = [1, width, *[2 * width] * blocks, *[4 * width] * blocks]
    strides = [1, *[2, *[1] * (blocks - 1)] * 2]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, ((inputs, outputs), stride) in enumerate(
        zip(pairwise(channels), strides, strict=True), start=1
    ):
        layers[f"block{index}"] = _convolution(inputs, outputs, stride=stride, norm=norm)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels[-1], num_classes, bias=False)
    return nn.Sequential(layers)

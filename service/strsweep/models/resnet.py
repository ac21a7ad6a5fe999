"""ResNets as the STR paper trains them, and He's ResNet-20 for small images.

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


def resnet18(num_classes: int = 1000, *, stem: Stem = "imagenet") -> nn.Module:
    """Build ResNet18: 2, 2, 2, 2 basic blocks.

    Args:
        num_classes: Outputs.
        stem: ``imagenet``: 7x7 convolution of stride 2 and max pooling; ``cifar``: 3x3
            convolution of stride 1 without pooling, for images of about 32 pixels.

    Raises:
        ValueError: ``stem`` is unknown.
    """
    from torchvision.models.resnet import BasicBlock  # a second of import that digits do not need

    return _resnet(BasicBlock, [2, 2, 2, 2], num_classes, stem)


def resnet50(num_classes: int = 1000, *, stem: Stem = "imagenet") -> nn.Module:
    """Build ResNet50: 3, 4, 6, 3 bottlenecks whose 3x3 convolution carries the stride ("v1.5").

    With 1000 classes it has the paper's 25,502,912 weights and 4,089,184,256 multiply-adds at
    224x224 (table 1).

    Args:
        num_classes: Outputs.
        stem: As of ``resnet18``.

    Raises:
        ValueError: ``stem`` is unknown.
    """
    from torchvision.models.resnet import Bottleneck

    return _resnet(Bottleneck, [3, 4, 6, 3], num_classes, stem)


def resnet20(num_classes: int = 10) -> nn.Module:
    """Build He's ResNet-20 for 32x32 images: three stages of three basic blocks, 16 to 64 channels.

    He et al. (arXiv 1512.03385, section 4.2) carry the image over a change of size without weights
    (option A). Here a 1x1 convolution does it (option B), as in all larger ResNets: 2,560 more
    weights, 270,896 in all with 10 classes.

    Args:
        num_classes: Outputs.
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

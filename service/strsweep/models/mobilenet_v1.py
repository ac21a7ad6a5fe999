"""MobileNetV1 (Howard et al., arXiv 1704.04861) as the STR paper trains it."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

_BLOCKS = (
    # Outputs at width 1, stride of the depthwise convolution.
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)
_STEM_CHANNELS = 32
_FEWEST_CHANNELS = 8


def mobilenet_v1(num_classes: int = 1000, *, width: float = 1.0) -> nn.Module:
    """One convolution, 13 blocks of a depthwise and a pointwise convolution, and a linear layer.

    With 1000 classes and width 1 it has the paper's 4,209,088 weights in 28 tensors and
    568,740,352 multiply-adds at 224x224 (table 2). As in the authors' code, only the last layer,
    which has no bias, starts Kaiming normal; the convolutions keep torch's own initialization.

    Args:
        num_classes: Outputs.
        width: Multiplies the channels of every layer.

    Raises:
        ValueError: ``width`` is not above 0.
    """
    if not width > 0:
        raise ValueError(f"width: got {width}, use a number above 0")
    channels = _scaled(_STEM_CHANNELS, width)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["stem"] = _convolution(3, channels, kernel=3, stride=2)
    for index, (outputs, stride) in enumerate(_BLOCKS, start=1):
        inputs, channels = channels, _scaled(outputs, width)
        layers[f"block{index}"] = nn.Sequential(
            OrderedDict[str, nn.Module](
                depthwise=_convolution(inputs, inputs, kernel=3, stride=stride, groups=inputs),
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
    inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Module:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=nn.Conv2d(
                inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False
            ),
            norm=nn.BatchNorm2d(outputs),
            relu=nn.ReLU(inplace=True),
        )
    )

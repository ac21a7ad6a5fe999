"""Small networks of the kinds that people bring: tied, drawing, looping, standardizing, ..."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from typing_extensions import override


class Classifier(nn.Module):
    """A convolution and a head, for digits."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.head = nn.Linear(16, num_classes)

    def features(self, x: Tensor) -> Tensor:
        return self.stem(x).relu()

    def forward(self, x: Tensor) -> Any:
        return self.head(self.features(x).mean((2, 3)))


class TiedToEmbedding(nn.Module):
    """A head that shares its weight with an embedding, as in language models."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
        self.body = nn.Linear(4, 4)
        self.head.weight = self.embedding.weight


class Tied(Classifier):
    """Two layers that share their weight."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.a, self.b = (nn.Conv2d(16, 16, 3, padding=1) for _ in range(2))
        self.b.weight = self.a.weight

    def features(self, x: Tensor) -> Tensor:
        return self.b(self.a(super().features(x)).relu()).relu()


class Repeated(Classifier):
    """One block, listed three times."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        block = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.ModuleList([block] * 3)

    def features(self, x: Tensor) -> Tensor:
        x = super().features(x)
        for block in self.blocks:
            x = block(x)
        return x


class OwnAutocast(Classifier):
    """Casts all weights inside its forward."""

    def forward(self, x: Tensor) -> Any:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            return super().forward(x).float()


class DataDependent(Classifier):
    """Goes another way for some inputs: torch.export cannot follow."""

    def features(self, x: Tensor) -> Tensor:
        x = super().features(x)
        return x * 0.5 if x.mean() > 0.5 else x


class Loops(Classifier):
    """Takes one image of the batch after the other: torch.export unrolls it for the example's."""

    def forward(self, x: Tensor) -> Any:
        return torch.cat([super(Loops, self).forward(image[None]) for image in x])


class ExtraState(Classifier):
    """Keeps a plain value in its state dict."""

    def get_extra_state(self) -> Any:
        return {"seen": 0}

    def set_extra_state(self, state: Any) -> None:
        pass


class LateState(Classifier):
    """Keeps a plain value in its state dict, once it has seen a training batch."""

    seen: Any = None

    def get_extra_state(self) -> Any:
        return torch.zeros(1) if self.seen is None else {"seen": self.seen}

    def set_extra_state(self, state: Any) -> None:
        pass

    def forward(self, x: Tensor) -> Any:
        self.seen = len(x) if self.training else self.seen
        return super().forward(x)


class PlainAverage(Classifier):
    """Keeps what it learns of its inputs in an attribute that is no buffer."""

    average: Any = 0.0

    def forward(self, x: Tensor) -> Any:
        features = self.features(x).mean((2, 3))
        if self.training:
            self.average = 0.9 * self.average + 0.1 * features.detach().mean(0)
        return self.head(features - self.average)


class Expanded(Classifier):
    """Has a buffer whose entries are one place in memory."""

    gain: Tensor

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.register_buffer("gain", torch.ones(1).expand(16))

    def forward(self, x: Tensor) -> Any:
        return self.head(self.features(x).mean((2, 3)) * self.gain)


class LeavesOut(Classifier):
    """Leaves out a layer for three of four training batches, at random."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.extra = nn.Conv2d(16, 16, 3, padding=1)

    def features(self, x: Tensor) -> Tensor:
        x = super().features(x)
        return x if self.training and torch.rand(()) < 0.75 else self.extra(x).relu()


class Unused(Classifier):
    """Has an old head that forward does not call any more."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.projection = nn.Linear(16, 256)


class Projected(Classifier):
    """Multiplies with a random matrix that is neither parameter nor buffer."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.matrix = torch.randn(16, 16)

    def forward(self, x: Tensor) -> Any:
        return self.head(self.features(x).mean((2, 3)) @ self.matrix)


class Noisy(Classifier):
    """Draws in evaluation, too."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x) + torch.randn(())


class Normed(Classifier):
    """Its weight norm is of the kind that cannot be copied while it has a gradient."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.wide = parametrizations.weight_norm(nn.Conv2d(16, 16, 1))

    def features(self, x: Tensor) -> Tensor:
        return self.wide(super().features(x)).relu()


class _Standardized(nn.Conv2d):
    @override
    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(input, weight / weight.std(), self.bias, padding=1)


class Standardizes(Classifier):
    """Multiplies with what it computes from its weight."""

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__(num_classes)
        self.stem = _Standardized(1, 16, 3, padding=1)


class OwnNorm(nn.BatchNorm2d):
    """A batch norm that does something more."""

    @override
    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).relu()


class OwnStatistics(nn.Module):
    """Normalizes by buffers of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(16))
        self.register_buffer("variance", torch.ones(16))

    def forward(self, images: Tensor) -> Tensor:
        mean, variance = self.get_buffer("mean"), self.get_buffer("variance")
        return F.batch_norm(images, mean, variance, training=self.training)


class WithNorm(Classifier):
    """Normalizes by a batch norm of the kind that the options name."""

    def __init__(self, num_classes: int = 10, *, kind: str = "plain") -> None:
        super().__init__(num_classes)
        kinds: dict[str, Any] = {
            "plain": nn.BatchNorm2d(16),
            "untracked": nn.BatchNorm2d(16, track_running_stats=False),
            "own": OwnNorm(16),
            "own statistics": OwnStatistics(),
            "sample": nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.BatchNorm1d(16, track_running_stats=False),
                nn.Unflatten(1, (16, 1, 1)),
            ),
            "flat": nn.Sequential(nn.Flatten(2), nn.BatchNorm1d(16), nn.Unflatten(2, (8, 8))),
        }
        self.norm = kinds[kind]

    def features(self, x: Tensor) -> Tensor:
        return self.norm(super().features(x))

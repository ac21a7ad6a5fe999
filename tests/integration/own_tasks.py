"""What users bring, each as its user would write it: a task, its data and its network."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset
from torchvision.models import VisionTransformer
from torchvision.ops import box_iou

import strsweep
from strsweep.config import DataConfig
from strsweep.data.catalog import open_digits

TRAIN, VAL = 640, 160


def split(*tensors: Tensor) -> tuple[TensorDataset, TensorDataset]:
    train, val = ([t[part] for t in tensors] for part in (slice(TRAIN), slice(TRAIN, None)))
    return TensorDataset(*train), TensorDataset(*val)


# (a) Classification of gray images: a data set of one's own, with an augmentation of one's own.


class Bars(Dataset[Any]):
    """Gray images of 8x8 with a bar that lies, stands, or a blob; mirrored at random."""

    classes = ("lies", "stands", "blob")

    def __init__(self, first: int, count: int, *, is_augmented: bool) -> None:
        self._first, self._count, self._is_augmented = first, count, is_augmented

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        made = random.Random(self._first + index)
        label, place = made.randrange(3), made.randrange(1, 6)
        image = torch.zeros(1, 8, 8)
        rows = slice(place, place + 2) if label != 1 else slice(None)
        columns = slice(place, place + 2) if label != 0 else slice(None)
        image[0, rows, columns] = 1
        image += 0.7 * torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(index))
        if self._is_augmented and random.random() < 0.5:
            image = image.flip(-1)
        return image, label


def bars(images: int = TRAIN) -> tuple[Bars, Bars]:
    return Bars(0, images, is_augmented=True), Bars(10**6, VAL, is_augmented=False)


def conv_net(num_classes: int) -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, num_classes)),
    )


# (b) Segmentation, judged by intersection over union.


class Blobs(strsweep.Task):
    score = strsweep.Metric(name="iou")

    def __init__(self, noise: float = 1.0) -> None:
        draw = torch.Generator().manual_seed(0)
        low = torch.randn(TRAIN + VAL, 1, 4, 4, generator=draw)
        truth = (F.interpolate(low, scale_factor=4, mode="bilinear") > 0.3).float()
        images = truth + noise * torch.randn(truth.shape, generator=draw)
        self.train, self.val = split(images, truth)

    def loss(self, outputs: Tensor, batch: Sequence[Tensor]) -> tuple[Tensor, int]:
        found, truth = outputs.sigmoid().flatten(1), batch[1].flatten(1)
        dice = (2 * (found * truth).sum(1) + 1) / (found.sum(1) + truth.sum(1) + 1)
        bce = F.binary_cross_entropy_with_logits(outputs, batch[1], reduction="sum")
        return (1 - dice).sum() + bce / 64, len(outputs)

    def sums(self, outputs: Tensor, batch: Sequence[Tensor]) -> dict[str, Tensor | float]:
        found, truth = outputs > 0, batch[1] > 0.5
        return {"both": (found & truth).sum(), "any": (found | truth).sum()}

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        return {"iou": sums["both"] / sums["any"]}


class UNet(nn.Module):
    def __init__(self, width: int = 12) -> None:
        super().__init__()

        def block(inputs: int, outputs: int) -> nn.Module:
            conv = nn.Conv2d(inputs, outputs, 3, padding=1)
            return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())

        self.down, self.deep = block(1, width), block(width, 2 * width)
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.last = nn.Sequential(block(2 * width, width), nn.Conv2d(width, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        fine = self.down(images)
        coarse = self.up(self.deep(F.max_pool2d(fine, 2)))
        return self.last(torch.cat([fine, coarse], dim=1))


# (c) Regression: lower is better, and nothing is said but the loss.


class Waves(strsweep.Task):
    score = strsweep.Metric(name="rmse", higher_is_better=False, is_share=False)

    def __init__(self) -> None:
        inputs = torch.rand(TRAIN + VAL, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
        self.train, self.val = split(inputs, torch.sin(3 * inputs).sum(1, keepdim=True))

    def loss(self, outputs: Tensor, batch: Sequence[Tensor]) -> tuple[Tensor, int]:
        return F.mse_loss(outputs, batch[1], reduction="sum"), len(outputs)

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        return {"rmse": (sums["loss"] / sums["count"]) ** 0.5}


def mlp(width: int = 64) -> nn.Module:
    layers = [nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 1))


# (d) Multi-label: which of four things are in the picture, judged by F1; the batch is a dictionary.


class Things(Dataset[Any]):
    def __init__(self, first: int, count: int) -> None:
        self._first, self._count = first, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        draw = torch.Generator().manual_seed(self._first + index)
        labels = (torch.rand(4, generator=draw) < 0.4).float()
        image = 0.3 * torch.randn(1, 8, 8, generator=draw)
        for corner in labels.nonzero().flatten().tolist():
            down, right = 4 * (corner // 2), 4 * (corner % 2)
            image[0, down + 1 : down + 3, right + 1 : right + 3] += 1
        return {"image": image, "labels": labels}


class Tags(strsweep.Task):
    score = strsweep.Metric(name="f1")

    def __init__(self) -> None:
        self.train, self.val = Things(0, TRAIN), Things(10**6, VAL)

    @property
    def model_options(self) -> dict[str, Any]:
        return {"num_classes": 4}

    def inputs(self, batch: dict[str, Tensor]) -> tuple[Tensor]:
        return (batch["image"],)

    def loss(self, outputs: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        total = F.binary_cross_entropy_with_logits(outputs, batch["labels"], reduction="sum")
        return total, outputs.numel()

    def sums(self, outputs: Tensor, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        found, truth = outputs > 0, batch["labels"] > 0.5
        return {"hits": (found & truth).sum(), "found": found.sum(), "true": truth.sum()}

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        return {"f1": 2 * sums["hits"] / max(sums["found"] + sums["true"], 1)}


# (e) Sequences of tokens and a small transformer, fine-tuned with AdamW from a checkpoint.


def brackets() -> tuple[TensorDataset, TensorDataset]:
    """Return rows of 12 tokens; the label is which of three tokens is in them most often."""
    tokens = torch.randint(0, 3, (TRAIN + VAL, 12), generator=torch.Generator().manual_seed(0))
    return split(tokens, F.one_hot(tokens, 3).sum(1).argmax(1))


class Reader(nn.Module):
    def __init__(self, num_classes: int, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(8, width)
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(width, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(tokens)).mean(1))


# A small vision transformer of torchvision, whose classifier starts at zero, under AdamW.


def colored_digits() -> tuple[TensorDataset, TensorDataset]:
    digits = open_digits(DataConfig())
    parts = [tensor_set.tensors for tensor_set in (digits.train, digits.val)]
    train, val = (TensorDataset(images.repeat(1, 3, 1, 1), labels) for images, labels in parts)
    return train, val


def vit(num_classes: int, width: int = 64) -> nn.Module:
    return VisionTransformer(
        image_size=8,
        patch_size=2,
        num_layers=3,
        num_heads=4,
        hidden_dim=width,
        mlp_dim=2 * width,
        num_classes=num_classes,
    )


# (f) Detection: a model that takes lists, and returns losses in training and boxes otherwise.


class Squares(Dataset[Any]):
    def __init__(self, first: int, count: int, size: int) -> None:
        self._first, self._count, self._size = first, count, size

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        made = random.Random(self._first + index)
        side = made.randrange(self._size // 4, self._size // 2)
        left, top = (made.randrange(self._size - side) for _ in range(2))
        image = torch.zeros(3, self._size, self._size)
        image[:, top : top + side, left : left + side] = 1
        box = torch.tensor([[left, top, left + side, top + side]], dtype=torch.float32)
        return image, {"boxes": box, "labels": torch.ones(1, dtype=torch.int64)}


class Boxes(strsweep.Task):
    """Mean overlap of the best box with the true one."""

    score = strsweep.Metric(name="overlap")

    def __init__(self, images: int = 8, size: int = 64) -> None:
        self.train, self.val = Squares(0, images, size), Squares(10**6, 4, size)

    @property
    def model_options(self) -> dict[str, Any]:
        return {"num_classes": 2}

    def collate(self, samples: Sequence[Any]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        return [image for image, _ in samples], [target for _, target in samples]

    def forward(self, network: nn.Module, batch: Any) -> Any:
        images, targets = batch
        return network(images, targets) if network.training else network(images)

    def loss(self, outputs: dict[str, Tensor], batch: Any) -> tuple[Tensor, int]:
        count = len(batch[0])
        return torch.stack(list(outputs.values())).sum() * count, count

    def sums(self, outputs: list[dict[str, Tensor]], batch: Any) -> dict[str, Tensor | float]:
        best = [
            box_iou(found["boxes"], target["boxes"]).max()
            if len(found["boxes"])
            else torch.zeros(())
            for found, target in zip(outputs, batch[1], strict=True)
        ]
        return {"overlap": torch.stack(best).sum(), "count": len(best)}

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        return {"overlap": sums["overlap"] / sums["count"]}

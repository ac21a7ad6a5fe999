"""What a task is: the data that runs train on, the loss, and what models are judged by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from strsweep.data import seeded
from strsweep.settings import Metric

_LOOKED_AT = 32
"""Samples of each split that tell whether data are those of before."""


class Task:
    """What a model is for. Subclass it, and name your class by its import path.

    A file ``flood.py`` beside the experiment::

        class Flood(strsweep.Task):
            score = strsweep.Metric(name="iou")

            def __init__(self, folder: str) -> None:
                self.train, self.val = Tiles(folder, "train"), Tiles(folder, "val")

            def loss(self, outputs, batch):
                losses = F.binary_cross_entropy_with_logits(outputs, batch[1], reduction="none")
                return losses.sum(), losses.numel()

            def sums(self, outputs, batch):
                wet, truth = outputs > 0, batch[1] > 0.5
                return {"both": (wet & truth).sum(), "any": (wet | truth).sum()}

            def metrics(self, sums):
                return {"iou": sums["both"] / sums["any"]}

    and in the experiment ``task: {name: "flood:Flood", options: {folder: /data/flood}}``.

    Every worker makes its own task from the same options. Losses and metrics are sums, so that the
    shares of several workers add up to exactly what one worker computes.
    """

    score: Metric = Metric(name="val_loss", higher_is_better=False, is_share=False)
    """What models are judged by: one of ``metrics``."""
    train: Any
    """Training data: anything with ``len()`` that gives sample ``i`` for ``train[i]``, such as a
    map-style ``torch.utils.data.Dataset``. What it draws from torch, NumPy and ``random`` is seeded
    by epoch and sample."""
    val: Any
    """Validation data, in the same way."""

    @property
    def model_options(self) -> dict[str, Any]:
        """Keyword arguments that the data give to the model's factory; none by default."""
        return {}

    def collate(self, samples: Sequence[Any]) -> Any:
        """Return a batch of samples: tensors in any nesting of tuples, lists and dictionaries."""
        return default_collate(list(samples))

    def inputs(self, batch: Any) -> tuple[Any, ...]:
        """Return the positional arguments of the model for ``batch``: its first entry."""
        if isinstance(batch, Mapping):
            raise TypeError("the batch is a dictionary: say in inputs() what of it the model takes")
        return (batch[0],)

    def forward(self, network: nn.Module, batch: Any) -> Any:
        """Run ``network`` on ``batch``; its ``training`` says whether for a loss."""
        return network(*self.inputs(batch))

    def loss(self, outputs: Any, batch: Any) -> tuple[Tensor, Tensor | float]:
        """Return the sum of the losses of a batch, and of how many terms it is the sum.

        Args:
            outputs: Of ``forward``; floating-point outputs are those of autocast, if it is on.
            batch: On the device of the model.
        """
        raise NotImplementedError

    def sums(self, outputs: Any, batch: Any) -> dict[str, Tensor | float]:
        """Return what ``metrics`` needs of a validation batch, as numbers that add up."""
        total, count = self.loss(outputs, batch)
        return {"loss": total, "count": count}

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """Return the metrics by name from the ``sums`` of all batches of all workers.

        A metric that is not finite ends the run as diverged.
        """
        return {"val_loss": sums["loss"] / sums["count"]}

    def check_outputs(self, outputs: Any) -> None:
        """Check what the model returns for two samples; anything will do by default.

        Raises:
            SettingError: It is not what ``loss`` needs.
        """

    def example(self) -> tuple[Any, ...]:
        """Return the arguments of the model for one sample, a batch of one, on the CPU.

        Multiply-adds are counted with it.
        """
        with seeded(0):
            return self.inputs(self.collate([self.train[0]]))

    def unreadable(self, batch: Any) -> list[int]:
        """Return the numbers of the samples of ``batch`` that could not be read; none by default.

        They must give no loss and no metric.
        """
        return []

    def sample_name(self, split: str, index: int) -> str:
        """Return what a person finds sample ``index`` of ``train`` or ``val`` by."""
        return f"{split} sample {index}"

    def unreadable_reason(self, split: str, index: int) -> str:
        """Return why sample ``index`` cannot be read, if anybody knows."""
        return ""

    def fingerprint(self) -> str:
        """Return a fingerprint of some samples; "" if they differ from one look to the next."""
        one, other = (_fingerprint(self.train, self.val) for _ in range(2))
        return one if one == other else ""

    def describe(self) -> str:
        """Return in one line what the data are; a sweep goes on only where it is the same."""
        return f"{len(self.train):,} training and {len(self.val):,} validation samples"


def _fingerprint(*splits: Any) -> str:
    digest = hashlib.sha256()
    with seeded(0):
        for samples in splits:
            for index in range(0, len(samples), max(len(samples) // _LOOKED_AT, 1)):
                _add(digest, samples[index])
    return digest.hexdigest()[:8]


def _add(digest: Any, value: Any) -> None:
    """Add a sample, or a part of one, to a digest."""
    if isinstance(value, Mapping):
        value = [*value.items()]
    if isinstance(value, list | tuple):
        for part in value:
            _add(digest, part)
    elif isinstance(value, Tensor):
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    else:
        digest.update(value.tobytes() if hasattr(value, "tobytes") else repr(value).encode())

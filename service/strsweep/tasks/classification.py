"""Classification: one label per input, cross-entropy, accuracy. The task if none is named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # ruff: ignore[lowercase-imported-as-non-lowercase] - the name every torch reader knows
from torch import Tensor, nn

from strsweep.data import LabelledData, unreadable_indices
from strsweep.errors import ImagesUnreadableError, SettingError
from strsweep.settings import Metric
from strsweep.tasks.task import Task

_FEW = 100
"""Validation samples from which on an accuracy is shown without their number."""
_NO_LABEL = -100
"""Cross-entropy skips it; the label of an image that could not be read."""
_MULTIPLE = 16
"""Steps of training batches: few lengths are few programs for ``torch.compile``."""


class Classification(Task):
    """Tells classes apart.

    Args:
        data: Inputs with labels.
        label_smoothing: Share of the target spread evenly over the classes, in training.
    """

    score = Metric(name="accuracy")

    def __init__(self, data: LabelledData, label_smoothing: float = 0.0) -> None:
        self.data = data
        self.train, self.val = data.train, data.val
        if len(data.val) < _FEW:
            self.score = Metric(name="accuracy", few_samples=len(data.val))
        self._label_smoothing = label_smoothing

    @property
    def model_options(self) -> dict[str, Any]:
        """The number of classes."""
        return {"num_classes": self.data.num_classes}

    def loss(self, outputs: Tensor, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the cross-entropy of ``outputs``, shape [N, classes]."""
        labels = self._labels(batch)
        total = F.cross_entropy(
            outputs, labels, label_smoothing=self._label_smoothing, reduction="sum"
        )
        return total, (labels != _NO_LABEL).sum()

    def sums(self, outputs: Tensor, batch: Sequence[Tensor]) -> dict[str, Tensor | float]:
        """Return how many are right, of how many, and their cross-entropy without smoothing."""
        logits, labels = outputs.float(), self._labels(batch)
        return {
            "correct": (logits.argmax(dim=1) == labels).sum(),
            "count": (labels != _NO_LABEL).sum(),
            "loss": F.cross_entropy(logits, labels, reduction="sum"),
        }

    def metrics(self, sums: dict[str, float]) -> dict[str, float]:
        """Return the accuracy, and the loss without label smoothing."""
        if not sums["count"]:
            raise ImagesUnreadableError("no validation image could be read")
        return {
            "accuracy": sums["correct"] / sums["count"],
            "val_loss": sums["loss"] / sums["count"],
        }

    def example(self) -> tuple[Any, ...]:
        """Return zeros of the shape of one image, or else the first sample."""
        shape = self.data.input_shape
        return super().example() if shape is None else (torch.zeros(1, *shape),)

    def check_outputs(self, outputs: Any) -> None:
        """Raise ``SettingError`` unless there is one output per class."""
        shape = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
        if not isinstance(shape, list) or shape[1:] != [self.data.num_classes]:
            remedy = (
                f"It is what the model returns, not one number for each of the "
                f"{self.data.num_classes} classes: a tensor of shape [batch, classes]."
            )
            raise SettingError("model.name", shape, remedy)

    def unreadable(self, batch: Sequence[Tensor]) -> list[int]:
        """See ``Task``: those have negative labels."""
        return unreadable_indices(batch[-1])

    def sample_name(self, split: str, index: int) -> str:
        """Return the file of an image."""
        return self.data.name(split, index)

    def unreadable_reason(self, split: str, index: int) -> str:
        """Return what the reader says of an image."""
        return self.data.reason(split, index)

    def fingerprint(self) -> str:
        """See ``Task``; ``describe`` has that of files, which no library decodes for it."""
        return super().fingerprint() if self.data.fingerprint is None else ""

    def describe(self) -> str:
        """Return counts, classes, and a fingerprint of files."""
        return self.data.describe()

    def _labels(self, batch: Sequence[Tensor]) -> Tensor:
        labels = batch[-1]
        return labels.where(labels >= 0, _NO_LABEL)


class Sequences(Classification):
    """Tells classes of sequences apart; a batch is inputs, lengths and labels.

    The network takes inputs, shape [N, steps, features], and lengths, shape [N]. Its example, and
    with it the multiply-adds of one input, has all steps of the longest sequence.
    """

    @property
    def model_options(self) -> dict[str, Any]:
        """The numbers of classes and features."""
        assert self.data.input_shape is not None
        return {**super().model_options, "num_features": self.data.input_shape[1]}

    def inputs(self, batch: Any) -> tuple[Any, ...]:
        """Return inputs and lengths."""
        return batch[0], batch[1]

    def forward(self, network: nn.Module, batch: Any) -> Tensor:
        """Run ``network``, in training on no more steps than the longest of the batch."""
        inputs, lengths = self.inputs(batch)
        if torch.is_grad_enabled():  # a program that was exported takes all steps only
            longest = int(lengths.max())
            inputs = inputs[:, : -(-longest // _MULTIPLE) * _MULTIPLE]
        return network(inputs, lengths)

    def example(self) -> tuple[Any, ...]:
        """Return zeros of the longest sequence."""
        assert self.data.input_shape is not None
        steps, features = self.data.input_shape
        return torch.zeros(1, steps, features), torch.tensor([steps])

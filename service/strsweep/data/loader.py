"""Iterate over the images of one worker, batch by batch."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from strsweep.data.batches import TrainingBatches, ValidationBatches
from strsweep.data.datasets import Images


def training_loader(
    images: Images, batches: TrainingBatches, processes: int = 0
) -> DataLoader[Any]:
    """Yield ``(images, labels)`` of one epoch; shapes [batch / world_size, C, H, W] and [same].

    Args:
        images: The data set.
        batches: Which images, in which order; its random state also seeds the augmentation.
        processes: Processes that decode images; 0 decodes in this one.
    """
    return _loader(images.train, batches, processes, batches.generator())


def validation_loader(
    images: Images, batches: ValidationBatches, processes: int = 0
) -> DataLoader[Any]:
    """Yield ``(images, labels)`` of this worker's share of the validation images."""
    return _loader(images.val, batches, processes, torch.Generator().manual_seed(0))


def _loader(
    dataset: Dataset[Any],
    batches: TrainingBatches | ValidationBatches,
    processes: int,
    generator: torch.Generator,
) -> DataLoader[Any]:
    if isinstance(dataset, TensorDataset):
        # One gather per batch instead of one per image: on digits the loader cost more than the
        # network otherwise.
        return DataLoader(dataset, sampler=batches, batch_size=None, generator=generator)
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=processes,
        generator=generator,
        pin_memory=torch.cuda.is_available(),
    )

"""Names to images: datasets and the exact sharding of every epoch over the workers."""

from strsweep.data.batches import TrainingBatches, ValidationBatches
from strsweep.data.datasets import Images, check_batch_size, check_data, load_images
from strsweep.data.loader import training_loader, validation_loader

__all__ = [
    "Images",
    "TrainingBatches",
    "ValidationBatches",
    "check_batch_size",
    "check_data",
    "load_images",
    "training_loader",
    "validation_loader",
]

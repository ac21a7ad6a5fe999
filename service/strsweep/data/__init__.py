"""Names to images: datasets and the exact sharding of every epoch over the workers."""

from strsweep.data.batches import TrainingBatches, ValidationBatches
from strsweep.data.catalog import check_batch_size, check_data, load_images
from strsweep.data.images import Images, unreadable_indices, unreadable_label
from strsweep.data.loader import TrainingLoader, training_loader, validation_loader

__all__ = [
    "Images",
    "TrainingBatches",
    "TrainingLoader",
    "ValidationBatches",
    "check_batch_size",
    "check_data",
    "load_images",
    "training_loader",
    "unreadable_indices",
    "unreadable_label",
    "validation_loader",
]

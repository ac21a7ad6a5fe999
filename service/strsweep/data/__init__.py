"""Names to data: datasets and the exact sharding of every epoch over the workers."""

from strsweep.data.catalog import check_data, load_data
from strsweep.data.labelled import LabelledData, unreadable_indices, unreadable_label
from strsweep.data.loader import (
    TrainingBatches,
    TrainingLoader,
    ValidationBatches,
    seeded,
    training_loader,
    validation_loader,
)

__all__ = [
    "LabelledData",
    "TrainingBatches",
    "TrainingLoader",
    "ValidationBatches",
    "check_data",
    "load_data",
    "seeded",
    "training_loader",
    "unreadable_indices",
    "unreadable_label",
    "validation_loader",
]

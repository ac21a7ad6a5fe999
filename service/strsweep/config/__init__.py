"""One YAML file is one experiment, validated as a whole before anything starts."""

from strsweep.config.experiment import (
    DataConfig,
    Experiment,
    ModelConfig,
    Range,
    RunSettings,
    SearchConfig,
    SparsityConfig,
    StorageConfig,
    TrackingConfig,
    TrainingConfig,
    WorkersConfig,
)
from strsweep.config.load import load_experiment

__all__ = [
    "DataConfig",
    "Experiment",
    "ModelConfig",
    "Range",
    "RunSettings",
    "SearchConfig",
    "SparsityConfig",
    "StorageConfig",
    "TrackingConfig",
    "TrainingConfig",
    "WorkersConfig",
    "load_experiment",
]

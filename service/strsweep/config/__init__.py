"""One YAML file is one experiment, validated as a whole before anything starts."""

from strsweep.config.experiment import Experiment, Problem
from strsweep.config.load import load_experiment
from strsweep.config.search import Range, SearchConfig
from strsweep.config.sections import (
    DataConfig,
    ModelConfig,
    StorageConfig,
    TaskConfig,
    TrainingConfig,
    WorkersConfig,
)
from strsweep.config.tracking import TrackingConfig

__all__ = [
    "DataConfig",
    "Experiment",
    "ModelConfig",
    "Problem",
    "Range",
    "SearchConfig",
    "StorageConfig",
    "TaskConfig",
    "TrackingConfig",
    "TrainingConfig",
    "WorkersConfig",
    "load_experiment",
]

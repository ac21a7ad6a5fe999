"""strsweep: name the sparsities you want, get the trained sparse models from a Ray cluster."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from strsweep.api import sweep as sweep
    from strsweep.config import Experiment as Experiment
    from strsweep.config import load_experiment as load_experiment
    from strsweep.settings import Metric as Metric
    from strsweep.settings import Target as Target
    from strsweep.sparsity.budget import Budget as Budget
    from strsweep.sparsity.convert import bake as bake
    from strsweep.sparsity.convert import sparsify as sparsify
    from strsweep.sparsity.landing import land as land
    from strsweep.sparsity.measure import measure as measure
    from strsweep.sparsity.methods import Hooks as Hooks
    from strsweep.sparsity.methods import Method as Method
    from strsweep.tasks import Task as Task
    from strsweep.training.attached import attach as attach

_HOMES = {
    "Budget": "strsweep.sparsity.budget",
    "Experiment": "strsweep.config",
    "Hooks": "strsweep.sparsity.methods",
    "Method": "strsweep.sparsity.methods",
    "Metric": "strsweep.settings",
    "Target": "strsweep.settings",
    "Task": "strsweep.tasks",
    "attach": "strsweep.training.attached",
    "bake": "strsweep.sparsity.convert",
    "land": "strsweep.sparsity.landing",
    "load_experiment": "strsweep.config",
    "measure": "strsweep.sparsity.measure",
    "sparsify": "strsweep.sparsity.convert",
    "sweep": "strsweep.api",
}
"""Imported when they are asked for: torch, Ray and MLflow take seconds each."""
__all__ = [*sorted(_HOMES)]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'strsweep' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

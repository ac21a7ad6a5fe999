"""What a sweep is one of, beyond its settings: runs of other data, models or code are another's."""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from torch import nn

from strsweep.config import Experiment, Problem
from strsweep.errors import SettingError
from strsweep.imports import is_import_path
from strsweep.tasks import Task

_INSTALLED = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")}
"""Where packages lie that nobody edits between two jobs."""


def identity_of(experiment: Experiment, task: Task, model: nn.Module) -> dict[str, str]:
    """Return what data, model and the user's own modules are, in words and fingerprints.

    Args:
        experiment: Names the user's modules.
        task: Of the experiment.
        model: Dense.
    """
    shapes = [f"{name} {list(tensor.shape)}" for name, tensor in model.state_dict().items()]
    files = sorted(_own_files(experiment))
    code = [f"{path.name} {_digest(path.read_bytes())}" for path in files]
    return {
        "data": task.describe(),
        "model": f"{len(shapes)} tensors, {_digest(chr(10).join(shapes).encode())}",
        "code": ", ".join(code),
    }


def check_identity(experiment: Experiment, before: Problem, now: Problem) -> None:
    """Check that a sweep is continued with the data, model and code that it was begun with.

    Raises:
        SettingError: Something has changed; the message says what.
    """
    for key, was in before.identity.items():
        is_now = now.identity.get(key, "")
        if was != is_now:
            raise SettingError(
                "name",
                experiment.name,
                f"The {key} changed since this sweep was begun, and its runs would be mixed with "
                f"others: it was {was or 'nothing'}; it is {is_now or 'nothing'}. Give the new "
                f"sweep another name, or undo the change.",
            )


def _own_files(experiment: Experiment) -> Iterator[Path]:
    """Yield the source files of the modules that the settings name, and of their packages."""
    training, task = experiment.training, experiment.task
    paths = [
        experiment.model.name,
        task.name if task is not None else "",
        experiment.data.name or "",
        experiment.data.augment or "",
        experiment.sparsity.mode,
        training.optimizer,
        training.schedule,
    ]
    for package in {
        path.partition(".")[0].partition(":")[0] for path in filter(is_import_path, paths)
    }:
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            if file and (name == package or name.startswith(f"{package}.")):
                path = Path(file)
                if not any(path.is_relative_to(folder) for folder in _INSTALLED):
                    yield path


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]

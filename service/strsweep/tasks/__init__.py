"""Names to tasks: classification, or a user's own by import path."""

from __future__ import annotations

from typing import Any

from strsweep.config import Experiment
from strsweep.data import load_data
from strsweep.errors import SettingError
from strsweep.imports import called
from strsweep.tasks.classification import Classification, Sequences
from strsweep.tasks.task import Task

__all__ = ["Classification", "Sequences", "Task", "own_task", "task_of"]


def task_of(experiment: Experiment) -> Task:
    """Return the task of ``experiment``, its data opened.

    Raises:
        SettingError: It cannot be made, or the data are not what they should be.
    """
    if experiment.task is None:
        data = load_data(experiment.data)
        kind = Sequences if data.is_sequence else Classification
        return kind(data, experiment.training.label_smoothing)
    return own_task(experiment.task.name, experiment.task.options)


def own_task(path: str, options: dict[str, Any]) -> Task:
    """Return a user's task by its import path.

    Raises:
        SettingError: It cannot be made, or is none.
    """
    task: object = called(path, "task.name", options)
    if not isinstance(task, Task):
        kind = type(task).__name__
        remedy = f"It made {kind}: use a subclass of strsweep.Task."
        raise SettingError("task.name", path, remedy)
    for split in ("train", "val"):
        if not hasattr(task, split):
            remedy = f"{type(task).__name__} has no data {split!r}: set self.{split} in __init__()."
            raise SettingError("task.name", path, remedy)
    return task

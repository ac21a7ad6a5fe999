"""Names to tasks: classification, or a user's own by import path."""

from __future__ import annotations

from strsweep.config import Experiment
from strsweep.data import load_data
from strsweep.errors import SettingError
from strsweep.imports import called
from strsweep.tasks.classification import Classification
from strsweep.tasks.task import Task

__all__ = ["Classification", "Task", "task_of"]


def task_of(experiment: Experiment) -> Task:
    """Return the task of ``experiment``, its data opened.

    Raises:
        SettingError: It cannot be made, or the data are not what they should be.
    """
    if experiment.task is None:
        return Classification(load_data(experiment.data), experiment.training.label_smoothing)
    task: object = called(experiment.task.name, "task.name", experiment.task.options)
    if not isinstance(task, Task):
        kind = type(task).__name__
        remedy = f"It made {kind}: use a subclass of strsweep.Task."
        raise SettingError("task.name", experiment.task.name, remedy)
    return task

"""The network of a run: built, tried on two samples, started from a checkpoint, made sparse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from strsweep.config import Experiment
from strsweep.errors import CheckpointError, SettingError
from strsweep.models import Start, build, load_start
from strsweep.settings import RunSettings
from strsweep.sparsity.convert import bake, threshold_parameters
from strsweep.sparsity.layers import weight_tensors, without
from strsweep.tasks import Task


def sparse_model(experiment: Experiment, settings: RunSettings, task: Task) -> nn.Module:
    """Build the model of ``experiment`` with its thresholds or masks, on the CPU.

    Raises:
        SettingError: The model cannot be built, has no such layers, or the checkpoint to start from
            is of another one.
    """
    method, model = experiment.sparsity, dense_model(experiment, task)
    if threshold_parameters(model):
        if method.needs_search:
            _check_continues(experiment)
            return model  # it goes on from the thresholds of the file
        bake(model)
    if settings.is_dense and not method.needs_search:
        return model
    try:
        without(weight_tensors(model), method.skip)  # also where the method has no use for it
        method.attach(model, settings, task.example())
    except ValueError as error:
        raise SettingError("sparsity.skip", list(method.skip), str(error)) from error
    return model


def dense_model(
    experiment: Experiment, task: Task, started: Callable[[Start], None] | None = None
) -> nn.Module:
    """Build the model of ``experiment`` as it is before pruning.

    Args:
        experiment: Names it, and the checkpoint to start from.
        task: Says how many classes there are, and such.
        started: Is called with what the checkpoint gave.

    Raises:
        SettingError: It cannot be built, or the checkpoint to start from is of another one.
    """
    config = experiment.model
    model = build(config.name, **task.model_options, **config.options)
    if config.checkpoint is not None:
        try:
            start = load_start(config.checkpoint, model, skip_head=config.skip_head)
        except CheckpointError as error:
            raise SettingError("model.checkpoint", str(config.checkpoint), str(error)) from error
        if started is not None:
            started(start)
    return model.train()


def check_task(experiment: Experiment, task: Task, model: nn.Module) -> None:
    """Take two samples through ``model``, loss and metrics, as training will.

    Raises:
        SettingError: They do not fit together; the message says where.
    """
    name = experiment.data_name
    batch = _tried("task.collate", name, lambda: task.collate([task.train[i] for i in (0, 1)]))
    model.eval()
    with torch.no_grad():
        try:
            outputs = task.forward(model, batch)
        except Exception as error:  # a user's own model can raise anything
            raise SettingError(
                "model.name",
                experiment.model.name,
                f"It does not take inputs of {name}, {_shapes(task.inputs(batch))}: {error}",
            ) from error
        task.check_outputs(outputs)
        sums = _tried("task.sums", name, lambda: task.sums(outputs, batch))
    model.train()
    outputs = _tried("task.forward", name, lambda: task.forward(model, batch))
    loss, count = _tried("task.loss", name, lambda: task.loss(outputs, batch))
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        remedy = f"loss() must return a sum with a gradient, and a count; not {_shapes(loss)}."
        raise SettingError("task.loss", name, remedy)
    _tried("task.loss", name, lambda: float(count))
    metrics = _tried(
        "task.metrics", name, lambda: task.metrics({k: float(v) for k, v in sums.items()})
    )
    if task.score.name not in metrics:
        remedy = f"Its score is {task.score.name!r}, and metrics() returns {sorted(metrics)}."
        raise SettingError("task.score", name, remedy)


def _tried(step: str, name: str, call: Callable[[], Any]) -> Any:
    try:
        return call()
    except SettingError:
        raise
    except Exception as error:  # a user's own task can raise anything
        remedy = f"It fails on the first two samples: {type(error).__name__}: {error}"
        raise SettingError(step, name, remedy) from error


def _shapes(value: Any) -> str:
    """Return shapes and types of a nested value, for a person."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_shapes(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(_shapes, value)) + ")"
    return type(value).__name__


def _check_continues(experiment: Experiment) -> None:
    """Refuse settings that the thresholds of the file would silently replace."""
    given = experiment.sparsity.model_dump(exclude_defaults=True, exclude={"mode", "preset"})
    for key, value in given.items():
        raise SettingError(
            f"sparsity.{key}",
            value,
            "model.checkpoint brings thresholds of its own, one sigmoid per layer: leave it out, "
            "or start without a checkpoint.",
        )
    if isinstance(experiment.search.threshold_init, tuple):
        raise SettingError(
            "search.threshold_init",
            list(experiment.search.threshold_init),
            "model.checkpoint brings the first values of the thresholds: write any one number.",
        )

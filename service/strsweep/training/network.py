"""The network of a run: built, tried on two samples, started from a checkpoint, made sparse."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from strsweep.config import Experiment
from strsweep.errors import CheckpointError, SettingError, blaming
from strsweep.models import Start, build, load_start
from strsweep.models.registered import start_file
from strsweep.models.start import load_weights
from strsweep.settings import RunSettings
from strsweep.sparsity.convert import bake, threshold_parameters
from strsweep.sparsity.layers import weight_tensors, without
from strsweep.sparsity.lowrank import cut_like
from strsweep.tasks import Task
from strsweep.training.batch_norm import keep_frozen
from strsweep.training.checkpoints import State


def sparse_model(experiment: Experiment, settings: RunSettings, task: Task) -> nn.Module:
    """Build the model of ``experiment`` with its thresholds or masks, on the CPU.

    Raises:
        SettingError: The model cannot be built, has no such layers, or the checkpoint to start from
            is of another one.
    """
    model = dense_model(experiment, task)
    make_sparse(model, experiment, settings, task)
    return model


def make_sparse(
    model: nn.Module, experiment: Experiment, settings: RunSettings, task: Task
) -> None:
    """Put thresholds or masks on the dense ``model`` of ``experiment``, in place.

    Raises:
        SettingError: It has no such layers, or has thresholds of a checkpoint that do not fit.
    """
    method = experiment.sparsity
    if threshold_parameters(model):
        if method.can_continue:
            _check_continues(experiment)
            return  # it goes on from the thresholds of the file
        bake(model)
    if settings.is_dense and not method.needs_search:
        return
    try:
        without(weight_tensors(model), method.skip)  # also where the method has no use for it
        method.attach(model, settings, task.example())
    except ValueError as error:
        raise SettingError("sparsity.skip", list(method.skip), str(error)) from error


def dense_model(
    experiment: Experiment, task: Task, started: Callable[[Start], None] | None = None
) -> nn.Module:
    """Build the model of ``experiment`` as it is before pruning.

    ``started`` is called with what the checkpoint to start from gave.

    Raises:
        SettingError: It cannot be built, or the checkpoint to start from is of another one.
    """
    config = experiment.model
    model = build(config.name, **task.model_options, **config.options)
    keep_frozen(model)
    if (file := start_file(experiment)) is not None:
        try:
            start = load_start(file, model, skip_head=config.skip_head)
        except CheckpointError as error:
            raise SettingError("model.checkpoint", str(config.checkpoint), str(error)) from error
        if started is not None:
            started(start)
    return model.train()


def plain_network(
    experiment: Experiment, weights: dict[str, Tensor], options: dict[str, Any]
) -> nn.Module:
    """Build the network of ``experiment`` with these weights, in evaluation mode, on the CPU.

    Raises:
        RuntimeError: They belong to another network.
        SettingError: The network cannot be built here.
    """
    network = build(experiment.model.name, **options, **experiment.model.options)
    load_weights(cut_like(network, weights), weights)
    return network.eval()


def restore(model: nn.Module, state: State) -> None:
    """Give ``model`` the parameters and buffers of a checkpoint.

    Raises:
        CheckpointError: They belong to another model.
    """
    try:
        load_weights(model, state["model"])
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint belongs to another model: {error}") from error


def check_task(experiment: Experiment, task: Task, model: nn.Module) -> str:
    """Take two samples through model, loss and metrics; return shapes and types of what passes.

    Raises:
        SettingError: They do not pass.
    """
    name = experiment.data_name
    if odd := [key for key, value in model.state_dict().items() if not isinstance(value, Tensor)]:
        remedy = "its weights could not be stored: make it a buffer, or leave it out of the state"
        told = f"Its state_dict has what is no tensor, {', '.join(odd)}: {remedy}."
        raise SettingError("model.name", experiment.model.name, told)
    batch, _ = (_readable(experiment, task, split) for split in ("train", "val"))
    model.eval()
    inputs = _tried("task.inputs", name, lambda: task.inputs(batch))
    told = f"It does not take inputs of {name}, {_shapes(inputs)}"
    with torch.no_grad():
        with blaming("model.name", experiment.model.name, told):
            outputs = task.forward(model, batch)
        task.check_outputs(outputs)
        sums = _tried("task.sums", name, lambda: task.sums(outputs, batch))
    model.train()
    if experiment.training.loop is None:
        _check_loss(task, model, batch, name)
    metrics = _tried(
        "task.metrics", name, lambda: task.metrics({k: float(v) for k, v in sums.items()})
    )
    if task.score.name not in metrics:
        remedy = f"Its score is {task.score.name!r}, and metrics() returns {sorted(metrics)}."
        raise SettingError("task.score", name, remedy)
    return f"two samples {_shapes(batch)} give {_shapes(outputs)}"


def _readable(experiment: Experiment, task: Task, split: str) -> Any:
    """Return a batch of the first two neighbours that can be read: a bad image ends nothing."""
    name, bad = experiment.data_name, list[int]()
    samples = task.train if split == "train" else task.val
    for index in range(min(len(samples), 16)):
        pair = [index, (index + 1) % len(samples)]
        batch = _tried("task.collate", name, lambda p=pair: task.collate([samples[i] for i in p]))
        if not (found := task.unreadable(batch)):
            return batch
        bad += found
    why = task.unreadable_reason(split, bad[0]) or "is its storage there?"
    remedy = f"The first of {split} cannot be read, {task.sample_name(split, bad[0])}: {why}."
    raise SettingError("data.path", str(experiment.data.path), remedy)


def _check_loss(task: Task, model: nn.Module, batch: Any, name: str) -> None:
    outputs = _tried("task.forward", name, lambda: task.forward(model, batch))
    returned = _tried("task.loss", name, lambda: task.loss(outputs, batch))
    if not isinstance(returned, tuple) or len(returned) != 2:  # pyright: ignore[reportUnknownArgumentType]
        remedy = (
            "loss() must return two values: the sum of the losses, and of how many it is the sum; "
            f"not {_shapes(returned)}."
        )
        raise SettingError("task.loss", name, remedy)
    loss, count = returned
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        remedy = f"loss() must return a sum with a gradient, and a count; not {_shapes(loss)}."
        raise SettingError("task.loss", name, remedy)
    _tried("task.loss", name, lambda: float(count))


def _tried(step: str, name: str, call: Callable[[], Any]) -> Any:
    told = "It fails on the first two samples"
    with blaming(step, name, told), warnings.catch_warnings():
        # Torch spreads one of them over the other, and what is learned is something else.
        warnings.filterwarnings("error", message="Using a target size")
        return call()


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
        remedy = (
            "model.checkpoint brings thresholds of its own, one sigmoid per layer: leave it out, "
            "or start without a checkpoint."
        )
        raise SettingError(f"sparsity.{key}", value, remedy)
    if isinstance(experiment.search.threshold_init, tuple):
        remedy = "model.checkpoint brings the first values of the thresholds: write any one number."
        raise SettingError("search.threshold_init", list(experiment.search.threshold_init), remedy)

"""The network of a run: built, tried on one image, made sparse."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from strsweep.config import Experiment, SparsityConfig
from strsweep.errors import CheckpointError, SettingError
from strsweep.models import build, load_authors_checkpoint
from strsweep.settings import RunSettings
from strsweep.sparsity import bake, threshold_parameters
from strsweep.training.mode import make_sparse


def sparse_model(
    experiment: Experiment,
    settings: RunSettings,
    num_classes: int,
    input_shape: tuple[int, int, int],
) -> nn.Module:
    """Build the model of ``experiment`` with its thresholds or masks, on the CPU.

    Raises:
        SettingError: The model cannot be built, takes other images, has no such layers, or the
            checkpoint to start from is of another one.
    """
    model = dense_model(experiment, num_classes, input_shape)
    if experiment.model.checkpoint is not None:
        _load(experiment.model.checkpoint, model)
        if experiment.sparsity.mode == "str" and threshold_parameters(model):
            _check_continues(experiment)
            return model  # STR goes on from the thresholds of the file
        bake(model)
    return make_sparse(model, experiment, settings, input_shape)


def dense_model(
    experiment: Experiment, num_classes: int, input_shape: tuple[int, int, int]
) -> nn.Module:
    """Build the model of ``experiment`` as it is before pruning, and try it on one image.

    Raises:
        SettingError: The model cannot be built, or takes other images.
    """
    model = build(experiment.model.name, num_classes=num_classes, **experiment.model.options)
    _check_shapes(model, experiment, num_classes, input_shape)
    return model.train()


def _check_continues(experiment: Experiment) -> None:
    """Refuse settings that the thresholds of the file would silently replace."""
    given, default = experiment.sparsity, SparsityConfig()
    for key in ("function", "scale", "granularity", "skip", "dense_first", "dense_last"):
        if getattr(given, key) != getattr(default, key):
            raise SettingError(
                f"sparsity.{key}",
                getattr(given, key),
                "model.checkpoint brings thresholds of its own, one sigmoid per layer: leave it "
                "out, or start without a checkpoint.",
            )
    if isinstance(experiment.search.threshold_init, tuple):
        raise SettingError(
            "search.threshold_init",
            list(experiment.search.threshold_init),
            "model.checkpoint brings the first values of the thresholds: write any one number.",
        )


def _load(path: Path, model: nn.Module) -> None:
    try:
        load_authors_checkpoint(path, model)
    except CheckpointError as error:
        raise SettingError("model.checkpoint", str(path), str(error)) from error


def _check_shapes(
    model: nn.Module, experiment: Experiment, num_classes: int, input_shape: tuple[int, int, int]
) -> None:
    name = experiment.model.name
    try:
        with torch.no_grad():
            outputs = model.eval()(torch.zeros(1, *input_shape))
    except Exception as error:  # a user's own model can raise anything
        raise SettingError(
            "model.name",
            name,
            f"It does not take {experiment.data.name} images of shape {list(input_shape)}: {error}",
        ) from error
    shape = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if shape != [1, num_classes]:
        raise SettingError(
            "model.name",
            name,
            f"It returns {shape} for one image, not a tensor of shape [1, {num_classes}].",
        )

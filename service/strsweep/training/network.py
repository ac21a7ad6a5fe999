"""The network of a run: built, tried on one image, made sparse."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strsweep.config import Experiment, RunSettings
from strsweep.errors import SettingError
from strsweep.models import build
from strsweep.training.method import make_sparse


def sparse_model(
    experiment: Experiment,
    settings: RunSettings,
    num_classes: int,
    input_shape: tuple[int, int, int],
) -> nn.Module:
    """Build the model of ``experiment`` with its thresholds or masks, on the CPU.

    Raises:
        SettingError: The model cannot be built, takes other images, or has no such layers.
    """
    model = build(experiment.model.name, num_classes=num_classes, **experiment.model.options)
    _check_shapes(model, experiment, num_classes, input_shape)
    return make_sparse(model.train(), experiment, settings)


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

"""Measure what a search needs to know of network and data, before anything is trained."""

from __future__ import annotations

import torch

from strsweep.config import Experiment, Problem
from strsweep.data import Images, TrainingBatches
from strsweep.sparsity import measure, weight_tensors
from strsweep.training.network import dense_model


def measure_problem(experiment: Experiment, images: Images) -> Problem:
    """Count weights, multiply-adds and steps of ``experiment``.

    Raises:
        SettingError: The network cannot be built, or takes other images.
    """
    training = experiment.training
    batches = TrainingBatches(
        num_images=images.num_train, batch_size=training.batch_size, seed=training.seed, epoch=0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = dense_model(experiment, images.num_classes, images.input_shape)
    report = measure(model, images.input_shape)
    assert report.dense_macs is not None
    magnitudes = torch.cat([w.original.detach().abs().flatten() for w in weight_tensors(model)])
    return Problem(
        steps_per_epoch=len(batches.sizes),
        weights=report.weights,
        dense_macs=report.dense_macs,
        # A network whose weights start at zero must not make the scale zero.
        weight_scale=max(magnitudes.median().item(), 1e-6),
    )

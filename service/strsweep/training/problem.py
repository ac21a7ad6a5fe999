"""Measure what a search needs to know of network and data, before anything is trained."""

from __future__ import annotations

import time
from itertools import islice

import torch

from strsweep.config import Experiment, Problem
from strsweep.data import Images, TrainingBatches
from strsweep.settings import RunSettings
from strsweep.sparsity import measure, weight_tensors
from strsweep.settings import Metric
from strsweep.training.input_pipeline import InputPipeline
from strsweep.training.loop import Stepper
from strsweep.training.network import dense_model, sparse_model
from strsweep.training.optimizer import sgd

_WARM_UP, _TIMED = 2, 8
"""Steps; the first ones open loaders and compile."""


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
        metric=Metric(name="accuracy"),
    )


def seconds_per_epoch(experiment: Experiment, settings: RunSettings) -> float:
    """Return what an epoch takes on one worker of this machine, from a few timed steps.

    Args:
        experiment: Without ``auto``.
        settings: Of a run whose thresholds act.
    """
    pipeline = InputPipeline(experiment, 0, 1)
    images = pipeline.images
    device = torch.device("cuda" if experiment.workers.gpus else "cpu")
    model = sparse_model(experiment, settings, images.num_classes, images.input_shape).to(device)
    optimizer = sgd(model, momentum=experiment.training.momentum)
    stepper = Stepper(experiment.training, device)
    steps = min(_WARM_UP + _TIMED, len(pipeline.sizes))
    started: list[float] = []
    stepper.train(
        model,
        optimizer,
        islice(pipeline.epoch(0), steps),
        sizes=pipeline.sizes[:steps],
        learning_rates=[0.0] * steps,
        before_step=lambda _: started.append(time.monotonic()),
    )
    warm = min(_WARM_UP, steps - 1)
    train = (time.monotonic() - started[warm]) / (steps - warm) * len(pipeline.sizes)
    batches = len(pipeline.validation)
    before = time.monotonic()
    stepper.evaluate(model, islice(pipeline.validation, _TIMED))
    return train + (time.monotonic() - before) / min(_TIMED, batches) * batches

"""Measure what a search needs to know of network and data, before anything is trained."""

from __future__ import annotations

import time
from copy import deepcopy
from itertools import islice

import torch

from strsweep.config import Experiment, Problem
from strsweep.data import TrainingBatches
from strsweep.progress import say
from strsweep.settings import RunSettings
from strsweep.sparsity.layers import weight_tensors
from strsweep.sparsity.measure import measure
from strsweep.tasks import Task
from strsweep.training.identity import identity_of
from strsweep.training.input_pipeline import InputPipeline
from strsweep.training.loop import Stepper
from strsweep.training.network import check_task, dense_model, sparse_model
from strsweep.training.optimizer import RunOptimizer

_WARM_UP, _TIMED = 2, 8
"""Steps; the first ones open loaders and compile."""


def measure_problem(experiment: Experiment, task: Task) -> Problem:
    """Count weights, multiply-adds and steps of ``experiment``, and try its task.

    Raises:
        SettingError: The network cannot be built, or task and network do not fit together.
    """
    training = experiment.training
    batches = TrainingBatches(
        num_samples=len(task.train), batch_size=training.batch_size, seed=training.seed, epoch=0
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        model = dense_model(experiment, task, lambda start: say(f"model.checkpoint: {start}"))
        check_task(experiment, task, deepcopy(model))  # batch norm learns from what it sees
    report = measure(model, task.example())
    assert report.dense_macs is not None
    weights = [weight.original.detach().abs().flatten() for weight in weight_tensors(model)]
    return Problem(
        steps_per_epoch=len(batches),
        weights=report.weights,
        dense_macs=report.dense_macs,
        # A network whose weights start at zero must not make the scale zero.
        weight_scale=max(torch.cat(weights).median().item(), 1e-6),
        metric=task.score,
        model_options=task.model_options,
        identity=identity_of(experiment, task, model),
    )


def seconds_per_epoch(experiment: Experiment, settings: RunSettings) -> float:
    """Return what an epoch takes on one worker of this machine, from a few timed steps.

    Args:
        experiment: Without ``auto``.
        settings: Of a run whose thresholds act.
    """
    pipeline = InputPipeline(experiment, 0, 1)
    device = torch.device("cuda" if experiment.workers.gpus else "cpu")
    model = sparse_model(experiment, settings, pipeline.task).to(device)
    optimizer = RunOptimizer(model, experiment.training)
    stepper = Stepper(pipeline.task, experiment.training, device)
    steps = min(_WARM_UP + _TIMED, pipeline.steps)
    started: list[float] = []
    stepper.train(
        model,
        optimizer,
        islice(pipeline.epoch(0), steps),
        learning_rates=[0.0] * steps,
        before_step=lambda _: started.append(time.monotonic()),
    )
    warm = min(_WARM_UP, steps - 1)
    train = (time.monotonic() - started[warm]) / (steps - warm) * pipeline.steps
    batches = len(pipeline.validation)
    before = time.monotonic()
    stepper.evaluate(model, islice(pipeline.validation, _TIMED))
    return train + (time.monotonic() - before) / min(_TIMED, batches) * batches

"""What a search needs to know of network and data, and what a sweep is one of."""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import time
from copy import deepcopy
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from strsweep.config import Experiment, Problem, TrainingConfig
from strsweep.data import TrainingBatches
from strsweep.errors import SettingError, blaming
from strsweep.imports import imported, own_modules
from strsweep.models.registered import start_file
from strsweep.models.start import load_weights
from strsweep.progress import say
from strsweep.settings import RunSettings
from strsweep.sparsity.measure import SparsityReport, measure
from strsweep.tasks import Task
from strsweep.training.checkpoints import State
from strsweep.training.loop import InputPipeline, Stepper
from strsweep.training.network import check_task, dense_model, sparse_model
from strsweep.training.optimizer import RunOptimizer
from strsweep.training.schedule import learning_rate

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
        before = {key: deepcopy(value) for key, value in model.state_dict().items()}
        shapes = check_task(experiment, task, model)
        report = _measured(experiment, task, model, before)
        _check_steps(experiment.training, task, model)
    assert report.dense_macs is not None
    return Problem(
        steps_per_epoch=len(batches),
        weights=report.weights,
        dense_macs=report.dense_macs,
        weight_scale=experiment.sparsity.entry_size(model),
        full_rank=experiment.sparsity.full_rank(model),
        metric=task.score,
        shapes=shapes,
        model_options=task.model_options,
        identity=identity_of(experiment, task, model),
    )


def _measured(
    experiment: Experiment, task: Task, model: nn.Module, before: State
) -> SparsityReport:
    """Measure ``model`` in the state it had ``before`` it saw data: batch norm learned from them.

    Raises:
        SettingError: It cannot have that state again, or compute one input in evaluation.
    """
    name = experiment.model.name
    try:
        load_weights(model, before)
    except RuntimeError as error:
        remedy = "Its own state cannot be loaded again, so no run could resume: a tensor made by "
        told = f"{remedy}expand() needs a clone(). {error}"
        raise SettingError("model.name", name, told) from error
    with blaming("model.name", name, "In evaluation it does not compute a single input"):
        return measure(model, task.example())


def _check_steps(training: TrainingConfig, task: Task, model: nn.Module) -> None:
    """Raise ``SettingError`` unless the user's own parts of a step can be called."""
    options, told = training.schedule_options, f"{training.schedule} refuses them"
    with blaming("training.schedule_options", options, told):
        for epoch in range(training.epochs):
            learning_rate(training, epoch, 0, 1)
    if training.loop is None:
        RunOptimizer(model, training)
        return
    loop = imported(training.loop, "training.loop")
    options, told = training.loop_options, f"{training.loop} is called with model, task and these"
    with blaming("training.loop_options", options, told):
        inspect.signature(loop).bind(model, task, **options)


def seconds_per_epoch(experiment: Experiment, settings: RunSettings) -> float:
    """Return the seconds of an epoch on one worker of this machine, from a few timed steps.

    Thresholds act with ``settings``.
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
    batches = pipeline.validation_steps
    before = time.monotonic()
    stepper.evaluate(model, islice(pipeline.validation(), _TIMED))
    return train + (time.monotonic() - before) / min(_TIMED, batches) * batches


def identity_of(experiment: Experiment, task: Task, model: nn.Module) -> dict[str, str]:
    """Return what data, model and the user's own modules are, in words and fingerprints."""
    places = own_modules(experiment.import_paths.values()).values()
    loaded = {Path(file) for m in [*sys.modules.values()] if (file := getattr(m, "__file__", None))}
    files = [p for place in places for p in sorted(loaded) if p.is_relative_to(place)]
    code = [f"{path.name} {_digest(path.read_bytes())}" for path in files]
    start = start_file(experiment)
    with blaming("task", experiment.data_name, "A sample of it cannot be read"):
        samples = task.fingerprint()
    return {
        "data": task.describe(),
        "samples": samples,
        "model": structure_of(model),
        "code": ", ".join(code),
        "checkpoint": "" if start is None else _digest(start.read_bytes()),
    }


def structure_of(model: nn.Module) -> str:
    """Return a fingerprint of the modules of ``model``, and of what they hold: names and shapes."""
    state = model.state_dict().items()
    shapes = [f"{name} {list(getattr(value, 'shape', ()))}" for name, value in state]
    modules = re.sub(r" at 0x[0-9a-f]+", "", repr(model))  # where a function lies says nothing
    return f"{len(shapes)} tensors, {_digest(chr(10).join([*shapes, modules]).encode())}"


def check_identity(experiment: Experiment, before: Problem, now: dict[str, str]) -> None:
    """Raise ``SettingError`` unless a sweep is continued with its own data, model and code."""
    for key, is_now in now.items():
        if (was := before.identity.get(key, is_now)) != is_now:
            remedy = (
                f"The {key} changed since this sweep was begun, and its runs would be mixed with "
                f"others: it was {was or 'nothing'}; it is {is_now or 'nothing'}. Give the new "
                f"sweep another name, or undo the change."
            )
            raise SettingError("name", experiment.name, remedy)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]

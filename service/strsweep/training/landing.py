"""Land a finished run: shift its thresholds, let batch norm see the new network, measure again."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]

from strsweep.config import Experiment
from strsweep.errors import CheckpointError
from strsweep.journal import ModelLanded, RunRecord
from strsweep.settings import RunSettings, Target
from strsweep.sparsity.landing import Landing, land
from strsweep.sparsity.measure import SparsityReport, measure
from strsweep.storage import Store
from strsweep.training.checkpoint import State, copied, load_checkpoint, save_checkpoint
from strsweep.training.input_pipeline import InputPipeline
from strsweep.training.loop import Stepper
from strsweep.training.network import sparse_model
from strsweep.training.writer import layer_rows

_IMAGES = 8192
"""Training images that batch norm sees after the shift. On digits and its deeper network accuracy
stops changing at about 500 (``make bench-landing``); with 1000 classes more are asked for."""


@dataclass(frozen=True, kw_only=True)
class LandedRun:
    """A finished run, shifted to exactly what a target asks for."""

    state: State
    """``model`` alone: nothing trains on from here."""
    shift: float
    """Added to the argument of every threshold function."""
    metrics: dict[str, float]
    """``sparsity``, ``macs`` and those of the task, after landing."""
    report: SparsityReport
    """Of the layers, after landing."""


def land_one(
    experiment: Experiment,
    storage: Store,
    run: RunRecord,
    target: Target,
    images: InputPipeline | None = None,
) -> ModelLanded:
    """Land a run on ``target`` and save the landed state; returns the event for the journal.

    Args:
        experiment: Of the sweep.
        storage: Of the sweep.
        run: It is finished.
        target: What to land on.
        images: As of ``land_run``.
    """
    assert run.finished is not None
    state = load_checkpoint(storage, run.finished.checkpoint)
    landed = land_run(experiment, run.settings, state, target, images=images)
    checkpoint = f"landed/{target.label}/{run.run_id}"
    if not dist.is_initialized() or dist.get_rank() == 0:
        save_checkpoint(storage, checkpoint, landed.state)
    return ModelLanded(
        target=target,
        run_id=run.run_id,
        checkpoint=checkpoint,
        metrics=landed.metrics,
        layers=layer_rows(landed.report),
        shift=landed.shift,
    )


def land_run(
    experiment: Experiment,
    settings: RunSettings,
    state: State,
    target: Target,
    *,
    images: InputPipeline | None = None,
    seen: int = _IMAGES,
) -> LandedRun:
    """Land the run whose last checkpoint is ``state`` on ``target``.

    Batch norm then gets the statistics of the landed network, over images of the next epoch.

    Args:
        experiment: How the run was trained.
        settings: Of the run.
        state: Of the model.
        target: What to land on.
        images: Of one of several workers that all call this; None: one calls it alone.
        seen: Images that batch norm sees at least, if there are so many.

    Raises:
        CheckpointError: The state belongs to another model.
        ImagesUnreadableError: More images cannot be read than a bad file here and there.
        ValueError: The thresholds cannot be shifted there.
    """
    images = images or InputPipeline(_one_worker(experiment), 0, 1)
    training = experiment.training
    device = torch.device("cuda" if experiment.workers.gpus else "cpu")
    stepper = Stepper(images.task, training, device)
    model = _finished(experiment, settings, state, images).to(device)
    landing = _land(model, target, images.task.example())
    batches = islice(images.epoch(training.epochs), math.ceil(seen / images.batch_size))
    after = _evaluated(stepper, model, images, batches)
    return LandedRun(
        state={"model": copied(model.state_dict())},
        shift=landing.shift,
        metrics={"sparsity": landing.after.sparsity, "macs": landing.after.macs or 0, **after},
        report=landing.after,
    )


@contextmanager
def recalibrated(model: nn.Module) -> Generator[None]:
    """Let every batch norm that runs inside the ``with`` block learn its statistics anew.

    They become the mean over the images it saw, on all workers, whose shares are equal; a batch of
    fewer images counts less. Only batch norm trains: the rest of the model, such as dropout, stays
    in evaluation mode. A batch norm that stays in evaluation mode when its model trains is frozen,
    and keeps its statistics.
    """
    model.train()
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    model.eval()
    momenta = [norm.momentum for norm in norms]
    seen = dict.fromkeys(norms, 0)

    def learn(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, _BatchNorm)
        seen[norm] += len(inputs[0])
        norm.momentum = len(inputs[0]) / seen[norm]
        norm.train()

    def rest(norm: nn.Module, *_: Any) -> None:
        norm.eval()

    handles = [norm.register_forward_pre_hook(learn) for norm in norms]
    handles += [norm.register_forward_hook(rest) for norm in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            for statistics in (norm.running_mean, norm.running_var):
                if statistics is not None and dist.is_initialized():
                    dist.all_reduce(statistics)
                    statistics /= dist.get_world_size()


def _one_worker(experiment: Experiment) -> Experiment:
    """Return the experiment with the batches that one of its workers trained on: those fit."""
    share = experiment.training.batch_size // experiment.workers.count
    training = experiment.training.model_copy(update={"batch_size": max(share, 2)})
    return experiment.model_copy(update={"training": training})


def _finished(
    experiment: Experiment, settings: RunSettings, state: State, pipeline: InputPipeline
) -> nn.Module:
    model = sparse_model(experiment, settings, pipeline.task)
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint belongs to another model: {error}") from error
    if experiment.training.channels_last:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return model


def _evaluated(
    stepper: Stepper, model: nn.Module, images: InputPipeline, batches: Iterable[Any]
) -> dict[str, float]:
    """Return the metrics of the task once batch norm has seen ``batches``."""
    with recalibrated(model):
        seen = stepper.evaluate(model, batches)
    evaluation = stepper.evaluate(model, images.validation)
    images.unreadable(seen.unreadable, evaluation.unreadable)
    return evaluation.metrics


def _land(model: nn.Module, target: Target, example: tuple[Any, ...]) -> Landing:
    if target.sparsity is not None:
        return land(model, sparsity=target.sparsity, example=example)
    dense_macs = measure(model, example).dense_macs
    assert dense_macs is not None
    return land(model, macs=1 - target.pruned(dense_macs), example=example)

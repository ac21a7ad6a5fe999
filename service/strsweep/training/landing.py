"""Land a finished run: shift its thresholds, let batch norm see the new network, measure again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from strsweep.config import Experiment
from strsweep.journal import LayerRow, ModelLanded, RunRecord, SweepRecord
from strsweep.settings import RunSettings, Target
from strsweep.sparsity.landing import Landing, land
from strsweep.sparsity.measure import SparsityReport, measure
from strsweep.sparsity.quantile import ROUNDING
from strsweep.storage import Store
from strsweep.tasks import Task
from strsweep.training.batch_norm import recalibrated, share_batch_statistics
from strsweep.training.checkpoints import State, copied, load_checkpoint, save_checkpoint
from strsweep.training.loop import InputPipeline, Stepper
from strsweep.training.network import restore, sparse_model
from strsweep.training.writer import layer_rows

_IMAGES = 8192
"""Training images that batch norm sees after the shift. On digits and its deeper network accuracy
stops changing at about 500 (``make bench-landing``); with 1000 classes more are taken."""


@dataclass(frozen=True, kw_only=True)
class LandedRun:
    """A finished run, shifted to exactly its target."""

    state: State
    """``model`` alone: nothing trains on from here."""
    shift: float
    """Added to the argument of every threshold function."""
    metrics: dict[str, float]
    """``sparsity``, ``macs`` and those of the task, after landing."""
    report: SparsityReport
    """Of the layers, after landing."""


def needs_landing(
    experiment: Experiment, record: SweepRecord, run: RunRecord, target: Target
) -> bool:
    """Return whether a finished run is still to be landed before it is delivered for ``target``."""
    assert run.finished is not None
    is_landed = (target, run.run_id) in record.landed
    can_land = experiment.sparsity.can_land and not is_on_target(target, run.finished.layers)
    return can_land and not is_landed


def is_on_target(target: Target, layers: Sequence[LayerRow]) -> bool:
    """Return whether a network of these layers has exactly what ``target`` requests."""
    if any(row.rank is not None for row in layers):
        return False  # a rank more may still fit
    if target.sparsity is not None:
        weights, zeros = (sum(getattr(row, key) for row in layers) for key in ("weights", "zeros"))
        return zeros == round(target.sparsity * weights)
    dense, macs = (sum(getattr(row, key) for row in layers) for key in ("dense_macs", "macs"))
    return macs == math.floor((1 - target.pruned(dense)) * dense + ROUNDING)


def land_one(
    experiment: Experiment,
    storage: Store,
    run: RunRecord,
    target: Target,
    images: InputPipeline | None = None,
) -> ModelLanded:
    """Land a finished run on ``target`` and save the landed state; return its event."""
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

    Several workers that share the images call this with ``images`` opened; one calls it alone.
    Batch norm sees at least ``seen`` training images, if there are so many.

    Raises:
        CheckpointError: The state belongs to another model.
        ImagesUnreadableError: More images cannot be read than a bad file here and there.
        ValueError: The thresholds cannot be shifted there.
    """
    images = images or InputPipeline(experiment, 0, 1)
    device = torch.device("cuda" if experiment.workers.gpus else "cpu")
    model = _finished(experiment, settings, state, images.task, device)
    landing = _land(model, target, images.task.example())
    stepper, report = Stepper(images.task, experiment.training, device), landing.after
    batches = images.epoch(experiment.training.epochs)
    with recalibrated(model):
        stepper.evaluate(model, islice(batches, math.ceil(seen / images.batch_size)))
    sums = stepper.evaluate(model, images.validation())
    images.unreadable()
    counts: dict[str, float] = {"sparsity": report.sparsity, "macs": report.macs or 0}
    if report.ranks:
        counts["rank"] = sum(report.ranks.values())
    return LandedRun(
        state={"model": copied(model.state_dict())},
        shift=landing.shift,
        metrics=counts | images.task.metrics(sums),
        report=report,
    )


def _finished(
    experiment: Experiment, settings: RunSettings, state: State, task: Task, device: torch.device
) -> nn.Module:
    model = sparse_model(experiment, settings, task)
    restore(model, state)
    if experiment.training.channels_last:
        model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    if dist.is_initialized():  # as one worker that has all of a batch, however it was trained
        share_batch_statistics(model, device, is_required=experiment.training.sync_batchnorm)
    return model.to(device)


def _land(model: nn.Module, target: Target, example: tuple[Any, ...]) -> Landing:
    report = measure(model, example)
    assert report.dense_macs is not None
    pruned = target.pruned(report.dense_macs, report.full_rank)
    wanted = pruned if target.quantity == "sparsity" else 1 - pruned
    return land(model, **{target.quantity: wanted}, example=example)

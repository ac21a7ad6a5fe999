"""After the search: every target's run is shifted, on the cluster, to exactly what was asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from strsweep.config import Experiment, Target, percent
from strsweep.journal import Journal, LayerRow, ModelLanded, RunRecord, SweepRecord
from strsweep.search.outcome import TargetOutcome
from strsweep.storage import storage_of
from strsweep.training.checkpoint import load_checkpoint, save_checkpoint
from strsweep.training.landing import land_run
from strsweep.training.writer import layer_rows

_MAX_TASK_FAILURES = 2
_ROUNDING = 1e-3
"""Multiply-adds: a share times their number is off by less."""


def land_targets(
    experiment: Experiment,
    states: Sequence[TargetOutcome],
    record: SweepRecord,
    journal: Journal,
) -> None:
    """Land the run of every target that was hit, and note each in the journal when it is done.

    One task per target, with the resources of one worker; as many at a time as the cluster holds.
    What the journal has is not done again, and a run that is on its target to the weight needs
    nothing. A landing that fails is told in one line: the target keeps its run as it was trained.

    Args:
        experiment: Of the sweep; only thresholds of ``str`` are landed.
        states: Targets and their chosen runs.
        record: All that is known about the sweep.
        journal: Of the job.
    """
    if experiment.sparsity.mode != "str":
        return
    chosen = [(state.target, record.runs[state.run.run_id]) for state in states if state.run]
    left = [(target, run) for target, run in chosen if not _is_done(target, run, record)]
    tasks = {_task(experiment, run, target): (target, run) for target, run in left}
    while tasks:
        [done], _ = ray.wait(list(tasks), num_returns=1)
        _take(done, *tasks.pop(done), journal)


def land_one(experiment: Experiment, run: RunRecord, target: Target) -> ModelLanded:
    """Land ``run`` on ``target`` where this is called, and save the landed state.

    Returns:
        The event, which is not in the journal yet.
    """
    assert run.finished is not None
    storage = storage_of(experiment)
    landed = land_run(
        experiment,
        run.settings,
        load_checkpoint(storage, run.finished.checkpoint),
        target,
        torch.device("cuda" if experiment.workers.gpus else "cpu"),
    )
    checkpoint = f"landed/{target.label}/{run.run_id}"
    save_checkpoint(storage, checkpoint, landed.state)
    return ModelLanded(
        target=target,
        run_id=run.run_id,
        checkpoint=checkpoint,
        metrics=dict(vars(landed.after)),
        layers=layer_rows(landed.report),
        shift=landed.shift,
    )


def is_on_target(target: Target, layers: Sequence[LayerRow]) -> bool:
    """Tell whether a network of these layers has exactly what ``target`` asks for."""
    if target.sparsity is not None:
        weights, zeros = (sum(getattr(row, key) for row in layers) for key in ("weights", "zeros"))
        return zeros == round(target.sparsity * weights)
    dense, macs = (sum(getattr(row, key) for row in layers) for key in ("dense_macs", "macs"))
    return macs == math.floor((1 - target.pruned(dense)) * dense + _ROUNDING)


def _is_done(target: Target, run: RunRecord, record: SweepRecord) -> bool:
    assert run.finished is not None
    return (target, run.run_id) in record.landed or is_on_target(target, run.finished.layers)


def _task(experiment: Experiment, run: RunRecord, target: Target) -> Any:
    task: Any = ray.remote(land_one)
    workers = experiment.workers
    options = {"num_cpus": workers.cpus, "num_gpus": workers.gpus}
    options |= {"max_retries": _MAX_TASK_FAILURES, "name": f"land {run.run_id} on {target.label}"}
    return task.options(**options).remote(experiment, run, target)


def _take(task: Any, target: Target, run: RunRecord, journal: Journal) -> None:
    try:
        landed: ModelLanded = ray.get(task)
    except RayError as error:
        reason = str(error).strip().splitlines()[-1]
        print(f"{target} keeps {run.run_id} as trained, landing failed: {reason:.200}", flush=True)
        return
    journal.append(landed)
    assert run.finished is not None
    change = [
        f"{percent(run.finished.metrics[key], 2)} -> {percent(landed.metrics[key], 2)}"
        for key in ("sparsity", "accuracy")
    ]
    print(f"{target} landed {run.run_id}: sparsity {change[0]}, accuracy {change[1]}", flush=True)

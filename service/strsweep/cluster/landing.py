"""After the search: every target's run is shifted, on the cluster, to exactly what was asked."""

from __future__ import annotations

import math
from collections.abc import Sequence

import ray

from strsweep.cluster.lanes import Lanes
from strsweep.config import Experiment
from strsweep.journal import Journal, LayerRow, RunRecord, SweepRecord
from strsweep.progress import say
from strsweep.search.outcome import TargetOutcome
from strsweep.settings import Metric, Target, percent
from strsweep.training.desk import Land, Told

_ROUNDING = 1e-3
"""Multiply-adds: a share times their number is off by less."""


def land_targets(
    experiment: Experiment,
    lanes: Lanes,
    states: Sequence[TargetOutcome],
    record: SweepRecord,
    journal: Journal,
) -> None:
    """Land the run of every target that was hit, and note each in the journal when it is done.

    The lanes do it, as many targets at a time as the cluster holds lanes. What the journal has is
    not done again, and a run that is on its target to the weight needs nothing. A landing that
    fails is told in one line: the target keeps its run as it was trained.

    Args:
        experiment: Of the sweep; only some methods can land.
        lanes: Of the sweep.
        states: Targets and their chosen runs.
        record: All that is known about the sweep.
        journal: Of the job.
    """
    if not experiment.sparsity.can_land:
        return
    assert record.problem is not None
    chosen = [(state.target, record.runs[state.run.run_id]) for state in states if state.run]
    left = [Land(run, target) for target, run in chosen if not _is_done(target, run, record)]
    for work in left:
        lanes.do(work)
    waiting = {lanes.follow(work): work for work in left}
    while waiting:
        [done], _ = ray.wait(list(waiting), num_returns=1)
        _take(ray.get(done), waiting.pop(done), journal, record.problem.metric)


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


def _take(told: Told, work: Land, journal: Journal, metric: Metric) -> None:
    target, run, landed = work.target, work.run, told.landed
    if landed is None:
        reason = f"landing failed: {told.failure:.200}"
        say(f"{target} keeps {run.run_id} as trained, {reason}")
        return
    journal.append(landed)
    assert run.finished is not None
    before, after = run.finished.metrics, landed.metrics
    pruned = f"sparsity {percent(before['sparsity'], 2)} -> {percent(after['sparsity'], 2)}"
    score = f"{metric.text(metric.of(before))} -> {metric.text(metric.of(after))}"
    say(f"{target} landed {run.run_id}: {pruned}, {metric.name} {score}")

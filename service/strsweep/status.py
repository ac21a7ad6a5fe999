"""Where a sweep stands, from its journal alone, and how runs and targets are described."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from strsweep.auto import resolve
from strsweep.config import Experiment, Problem
from strsweep.errors import InvalidExperimentError, SettingError, nearest
from strsweep.journal import Journal, ModelLanded, RunRecord, SweepRecord, replay
from strsweep.search.outcome import TargetOutcome, outcomes_of
from strsweep.search.runs import Run, Status, read_state
from strsweep.settings import Metric, RunSettings, Target, count, percent
from strsweep.storage import Store, is_object_store, storage_of, store_of_sweep
from strsweep.table import Column, as_terminal, rows_of, share

_Row = dict[str, Any]
_MOST_NAMED = 5
"""Sweeps that an error names beside the one that is missing."""


@dataclass(frozen=True)
class StartedSweep:
    """A sweep that was started, as its storage knows it."""

    experiment: Experiment
    """Without ``auto``."""
    record: SweepRecord
    """All that its journal knows."""
    storage: Store
    """Where its files are now: it may have been moved or copied."""


def recorded(
    sweep: str | None, experiment: Experiment | None, setting: str = "SWEEP"
) -> StartedSweep:
    """Return a sweep that was started.

    Args:
        sweep: Its id under the results folder, its folder, or ``s3://BUCKET/PREFIX`` of it.
        experiment: Instead of ``sweep``: what was started, as its file says it.
        setting: What an error calls ``sweep``.

    Raises:
        SettingError: There is no such sweep, or this version cannot read it.
        JournalError: Its journal is damaged.
        StorageError: The storage refuses, or stayed away too long.
    """
    if (sweep is None) == (experiment is None):
        raise SettingError(setting, sweep, "Name the sweep, or else its file with --config.")
    storage = storage_of(experiment) if experiment is not None else store_of_sweep(str(sweep))
    record = replay(Journal(storage).read())
    folder, _, name = storage.location.rpartition("/")
    if not record.started:
        told = _neighbours(folder, name)
        if experiment is not None:
            begins = "It has not begun: a job begins it once it has reached Ray."
            raise SettingError("--config", name, f"{begins} {told}")
        lies = "No sweep lies there: name its id, or its folder with journal/ in it."
        raise SettingError(setting, sweep, f"{lies} {told}".strip())
    started = record.started[-1]
    try:
        found = experiment or Experiment.model_validate(started.experiment)
    except (ValidationError, InvalidExperimentError) as error:
        told = " ".join(str(error).split())
        raise SettingError(setting, sweep, f"This version cannot read it: {told:.300}") from error
    settled = resolve(found, started.problem)
    return StartedSweep(settled, record, storage)


def _neighbours(folder: str, name: str) -> str:
    """Return which sweeps lie in ``folder``, the most alike first; of a bucket nothing is said."""
    if is_object_store(folder):
        return ""
    known = sorted(path.parent.name for path in Path(folder).glob("*/journal"))
    more = f" and {len(known) - _MOST_NAMED} more" if len(known) > _MOST_NAMED else ""
    return f"{nearest(name, known)}{folder} has: {', '.join(known[:_MOST_NAMED]) or 'none'}{more}."


def status_of(sweep: StartedSweep) -> dict[str, Any]:
    """Return where a sweep stands, as values: ``targets`` and ``runs`` have one entry each."""
    experiment, record = sweep.experiment, sweep.record
    state = read_state(record, experiment)
    known = {run.run_id: run for run in state.runs}
    found = [] if experiment.is_single else outcomes_of(record, experiment)
    epochs = experiment.training.epochs
    events = [*record.started, *record.landed.values(), *record.published.values()]
    written = [event.time for event in events]
    written += [time for run in record.runs.values() for time in run.times]
    return {
        "sweep_id": experiment.sweep_id,
        "location": sweep.storage.location,
        "metric": state.goal.problem.metric.name,
        "targets": [_target_values(one, known, record) for one in found],
        "runs": [_run_values(run, record.runs[run.run_id], epochs) for run in state.runs],
        "epochs_trained": record.epochs_trained,
        "written_at": max(written),
    }


def _target_values(outcome: TargetOutcome, known: Mapping[str, Run], record: SweepRecord) -> _Row:
    target, published = outcome.target, record.published.get(outcome.target)
    aiming = [run for run in known.values() if run.target == target and run.is_under_way]
    run = known[published.run_id] if published is not None else outcome.run
    landed = record.landed.get((target, run.run_id)) if run is not None else None
    state = "registered" if published else "landed" if landed else "hit"
    if run is None:
        run, state = (aiming[-1], "under way") if aiming else (outcome.closest, "open")
    return {
        "target": str(target),
        "state": state,
        "run_id": run and run.run_id,
        **_numbers(run, landed, record.problem),
        "version": published and published.version,
    }


def _numbers(run: Run | None, landed: ModelLanded | None, problem: Problem | None) -> _Row:
    """Return sparsity, share of multiply-adds and score: as landed, else as training left them."""
    if run is None or problem is None or not run.epoch:
        return dict.fromkeys(("sparsity", "macs_share", "score"))
    if landed is None:
        return {"sparsity": run.sparsity, "macs_share": 1 - run.macs_pruned, "score": run.score}
    return {
        "sparsity": landed.metrics["sparsity"],
        "macs_share": landed.metrics["macs"] / problem.dense_macs,
        "score": problem.metric.of(landed.metrics),
    }


def _run_values(run: Run, recorded: RunRecord, epochs: int) -> _Row:
    end, last = recorded.failed or recorded.stopped, run.settings.last_epoch
    dense = "shared start" if last else "dense network"
    return {
        "run_id": run.run_id,
        "purpose": dense if run.settings.is_dense else str(run.target or run.refines or ""),
        "state": "under way" if run.status is Status.PAUSED else run.status.value,
        "epoch": run.epoch,
        "epochs": last or epochs,
        "sparsity": run.sparsity if run.epoch else None,
        "score": run.score if run.epoch else None,
        "seconds": run.trained_s,
        "reason": end and end.reason,
    }


def print_status(sweep: StartedSweep, values: Mapping[str, Any]) -> None:
    """Print what ``status_of`` returned."""
    experiment = sweep.experiment
    targets, runs = values["targets"], values["runs"]
    done = sum(target["state"] not in {"open", "under way"} for target in targets)
    hit = f"{done} of {count(len(targets), 'target')} hit, " if targets else ""
    used = f"{len(runs)} of {count(experiment.search.max_runs, 'run')} used"
    ago = clock(max(time.time() - values["written_at"], 0))
    trained = f"{count(values['epochs_trained'], 'epoch')} trained; newest entry {ago} ago"
    print(f"{values['sweep_id']}: {experiment.method}\n{hit}{used}, {trained}")
    print(values["location"])
    metric = sweep.record.started[-1].problem.metric
    for title, columns, rows in (
        ("targets", _target_columns(metric), targets),
        ("runs", _run_columns(metric), runs),
    ):
        if rows:
            print(f"\n{as_terminal(rows_of(columns, rows), title)}", end="")


def _target_columns(metric: Metric) -> list[Column[_Row]]:
    return [
        _column("target"),
        Column("", lambda row: row["state"] + ", nearest:" * _is_nearest(row), "state"),
        _column("run_id", "run"),
        *_measured(metric),
        _column("macs_share", "MACs left", share),
        _column("version"),
    ]


def _is_nearest(row: _Row) -> bool:
    return row["state"] == "open" and row["run_id"] is not None


def _run_columns(metric: Metric) -> list[Column[_Row]]:
    return [
        _column("run_id", "run"),
        _column("purpose", "for"),
        _column("state"),
        Column("", itemgetter("epoch", "epochs"), "epoch", "{0[0]}/{0[1]}".format),
        *_measured(metric),
        _column("seconds", "time", clock),
        _column("reason", "why it ended"),
    ]


def _measured(metric: Metric) -> list[Column[_Row]]:
    return [_column("sparsity", shown=share), _column("score", metric.name, metric.text)]


def _column(key: str, heading: str = "", shown: Callable[[Any], str] = str) -> Column[_Row]:
    return Column("", itemgetter(key), heading or key, shown)


def describe(settings: RunSettings) -> str:
    """Return the settings of a run as a person reads them."""
    if settings.is_dense:
        return f"dense, weight decay {settings.weight_decay:.3g}"
    parts = [f"weight decay {settings.weight_decay:.3g}"]
    if settings.threshold_init is not None:
        if settings.threshold_decay is not None:
            parts.append(f"threshold decay {settings.threshold_decay:.3g}")
        parts.append(f"threshold init {settings.threshold_init:.4g}")
    if settings.fork is not None:
        parts.append(f"from epoch {settings.fork.epoch}")
    return ", ".join(parts)


def describe_metrics(metrics: dict[str, float], target: Target | None, metric: Metric) -> str:
    """Return what an epoch gave; MACs only where they are the target."""
    shown = [f"sparsity {percent(metrics['sparsity'], 2)}"]
    if target is not None and target.quantity == "macs":
        share = percent(metrics["macs"] / metrics["dense_macs"], 2)
        shown.append(f"MACs {share} ({metrics['macs']:,.0f})")
    if "rank" in metrics:
        shown.append(f"rank {metrics['rank']:.0f} of {metrics['full_rank']:.0f}")
    shown.append(f"{metric.name} {metric.text(metric.of(metrics), 1)}")
    return "  ".join(shown)


def describe_target(state: TargetOutcome, metric: Metric) -> str:
    """Return one line about one target."""
    name, run = f"{state.target!s:>9}", state.run or state.closest
    if run is None:
        return f"{name}  open"
    quantity, pruned = state.target.quantity, run.pruned(state.target.quantity)
    noun = "MACs" if quantity == "macs" else quantity
    what = f"{noun} {percent(pruned if quantity == 'sparsity' else 1 - pruned, 2)}"
    if state.run is None:
        return f"{name}  open  closest {what} ({run.run_id})"
    return f"{name}  hit   {run.run_id}  {what}  {metric.name} {metric.text(run.score, 1)}"


def clock(seconds: float) -> str:
    """Return a duration as mm:ss or h:mm:ss."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"

"""What was tried, in order: one row per run, as its last epoch left it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from strsweep.config import Problem
from strsweep.journal import RunRecord
from strsweep.settings import Metric
from strsweep.table import Column, Row, number, rows_of, share, whole

Link = Callable[[str], str]
"""Maps a run id to the address of its page; to nothing if there is none."""


def role_of(run: RunRecord) -> Literal["", "dense", "shared start"]:
    """Return what a run is for whose thresholds never act; empty for any other run."""
    if not run.settings.is_dense:
        return ""
    return "dense" if run.settings.last_epoch is None else "shared start"


def run_hours(run: RunRecord) -> float:
    """Return the hours of training that a run took; an epoch that was repeated counts as any."""
    seconds = [event.metrics.get("seconds", 0.0) for event in run.epochs.values()]
    return statistics.fmean(seconds) * run.num_epochs_trained / 3600 if seconds else 0.0


def purpose_of(run: RunRecord) -> str:
    """Return what a run is for as a person reads it: its role, or its target; empty for neither."""
    return role_of(run) or str(run.target or run.proposed.refines or "")


def run_rows(runs: Iterable[RunRecord], problem: Problem, link: Link) -> list[Row]:
    """Return one row per run of a sweep, in the order of proposal. Shares are fractions."""
    metric, name = problem.metric, problem.metric.name

    def why(run: RunRecord) -> str:
        end = None if run.finished else run.failed or run.stopped
        fork, betters = run.settings.fork, run.proposed.refines
        parts = [
            end.reason if end else run.proposed.reason,
            f"first {fork.epoch} epochs shared" if fork else "",
            f"to better {betters}" if betters else "",
        ]
        return " · ".join(filter(None, parts))

    def macs_share(run: RunRecord) -> float | None:
        macs = _last(run).get("macs")
        return None if macs is None else macs / problem.dense_macs

    columns: list[Column[RunRecord]] = [
        Column("run_id", lambda run: run.run_id, "run", link=lambda run: link(run.run_id)),
        Column("role", role_of),
        Column("purpose", purpose_of, "for"),
        Column("state", _state, "state"),
        Column(name, lambda run: _last(run).get(name), name, metric.text),
        Column("sparsity", lambda run: _last(run).get("sparsity"), "sparsity", share),
        Column("macs", lambda run: _last(run).get("macs")),
        Column("macs_share", macs_share, "MACs left", share),
        Column("rank", lambda run: _last(run).get("rank"), "rank", whole),
        Column("last_epoch", lambda run: max(run.epochs, default=0)),
        Column("epochs_paid", lambda run: run.num_epochs_trained, "epochs paid", whole),
        Column("hours_paid", run_hours),
        Column("weight_decay", lambda run: run.settings.weight_decay, "weight decay", number),
        Column("threshold_decay", _mean_decay, "threshold decay", number),
        Column("threshold_init", lambda run: run.settings.threshold_init, "threshold init", number),
        Column("why", why, "why", style="long"),
    ]
    return rows_of(columns, runs)


def rank_rows(runs: Iterable[RunRecord], metric: Metric) -> list[Row]:
    """Return one row for all ranks that runs passed, with the best score at them.

    As published: several rows of its table are of one run (appendix A.6). Where a run was at its
    best is no checkpoint that is kept.
    """
    best: dict[tuple[tuple[str, float], ...], tuple[float, RunRecord, int]] = {}
    for run in runs:
        for epoch, row in run.epochs.items():
            found = {k: v for k, v in row.metrics.items() if k.startswith("rank.")}
            ranks, score = tuple(found.items()), metric.of(row.metrics)
            if found and (ranks not in best or metric.rank(score) > metric.rank(best[ranks][0])):
                best[ranks] = score, run, epoch
    columns: list[Column[tuple[Any, tuple[float, RunRecord, int]]]] = [
        *(
            Column(name, lambda item, i=index: item[0][i][1], name.removeprefix("rank."), whole)
            for index, (name, _) in enumerate(next(iter(best), ()))
        ),
        Column(metric.name, lambda item: item[1][0], metric.name, metric.text),
        Column("run_id", lambda item: item[1][1].run_id, "run"),
        Column("epoch", lambda item: item[1][2], "epoch", whole),
    ]
    return rows_of(columns, sorted(best.items(), key=lambda item: item[0], reverse=True))


def _state(run: RunRecord) -> Literal["finished", "failed", "stopped", "open"]:
    if run.finished is not None:
        return "finished"
    if run.failed is not None:
        return "failed"
    return "open" if run.stopped is None else "stopped"


def _last(run: RunRecord) -> Mapping[str, float]:
    """Return what was measured at the end; nothing before the first epoch."""
    if run.finished is not None:
        return run.finished.metrics
    return run.epochs[max(run.epochs)].metrics if run.epochs else {}


def _mean_decay(run: RunRecord) -> float | None:
    """Return the mean over the epochs that thresholds act in, by learning rate."""
    rows = [row.metrics for epoch, row in run.epochs.items() if epoch > run.settings.onset]
    if run.settings.is_dense or run.settings.threshold_init is None or not rows:
        return None
    moved = math.fsum(row["threshold_decay"] * row["learning_rate"] for row in rows)
    return moved / math.fsum(row["learning_rate"] for row in rows)

"""The rows of the report: one per run, as its last epoch left it, and one per target."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from strsweep.config import Experiment, Problem
from strsweep.journal import RunRecord, SweepRecord
from strsweep.packages.receipt import Receipt
from strsweep.search.decide import Finish, next_action
from strsweep.search.outcome import outcomes_of
from strsweep.search.runs import read_state
from strsweep.search.space import space_of
from strsweep.settings import Metric, Target
from strsweep.table import Column, Row, number, rows_of, share, whole

Link = Callable[[str], str]
"""Maps a run id to the address of its page; to nothing if there is none."""
MISSED, OPEN = "missed", "open"


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


@dataclass(frozen=True, kw_only=True)
class TargetModel:
    """One target, and its model."""

    target: Target | None
    """None for a single run, which nobody aimed."""
    receipt: Receipt | None = None
    """None if there is no model."""
    registered_as: str = ""
    """Name, version and alias; empty if it is not registered."""
    missing: str = MISSED
    """Without a model: ``missed``, ``open`` while it may still come, or another reason."""
    note: str = ""
    """Without a model: what is done about it, or what to change."""
    link: str = ""
    """Address of the registered model."""

    @property
    def state(self) -> str:
        """``landed``, ``as trained``, or why there is no model."""
        if self.receipt is None:
            return self.missing
        return "as trained" if self.receipt.landed is None else "landed"


def model_rows(
    models: Sequence[TargetModel],
    metric: Metric,
    dense: float | None,
    link: Link = lambda _: "",
) -> list[Row]:
    """Return one row per target; shares are fractions, ``dense`` the dense network's score."""

    def of(value: Callable[[Receipt], object]) -> Callable[[TargetModel], Any]:
        return lambda model: None if model.receipt is None else value(model.receipt)

    def vs_dense(receipt: Receipt) -> float | None:
        return None if dense is None else receipt.score - dense

    name, before, text = metric.name, f"{metric.name}_before", metric.text
    columns: list[Column[TargetModel]] = [
        Column("target", lambda m: str(m.target or "-"), "target"),
        Column("state", lambda m: m.state, "state"),
        Column("advice", lambda m: m.note),
        Column(name, of(lambda r: r.score), name, text, "strong"),
        Column("vs_dense", of(vs_dense), "vs dense", lambda apart: metric.difference(apart, 0)),
        Column("sparsity", of(lambda r: r.sparsity), "sparsity", share),
        Column("macs", of(lambda r: r.macs), "MACs", _short),
        Column("macs_share", of(lambda r: r.macs / r.dense_macs), "MACs left", share),
        Column("", of(lambda r: r.trained_at), "trained at"),
        Column("sparsity_before", of(lambda r: r.landed and r.landed.sparsity_before)),
        Column("macs_before", of(lambda r: r.landed and r.landed.macs_before)),
        Column(before, of(lambda r: r.landed and r.landed.score_before), f"{name} before", text),
        Column("run_id", of(lambda r: r.run_id), "run", link=of(lambda r: link(r.run_id))),
        Column(
            "registered_as",
            lambda m: m.receipt and (m.registered_as or "not yet"),
            "registered as",
            link=lambda m: m.link,
        ),
        Column("weights_sha256", of(lambda r: r.weights_sha256), "sha256", "{:.12}".format, "code"),
    ]
    return rows_of(columns, models, lambda model: model.note)


def _short(macs: int) -> str:
    """Return four digits of large numbers: files, receipts and cards have all of them."""
    if macs < 10**6:
        return f"{macs:,}"
    return f"{macs / 1e6:.4g} M" if macs < 10**9 else f"{macs / 1e9:.4g} G"


def models_of(
    experiment: Experiment, record: SweepRecord, receipts: Sequence[Receipt]
) -> list[TargetModel]:
    """Return one model per target, in the order they were given; then a single run's, if any."""
    models: list[TargetModel] = []
    is_open = is_under_way(record, experiment)
    outcomes = [] if experiment.is_single else outcomes_of(record, experiment)
    advice: dict[Target | None, str] = {o.target: o.advice for o in outcomes}
    by_target = {receipt.target: receipt for receipt in receipts}
    for target in dict.fromkeys([*experiment.search.targets, *by_target]):
        receipt, published = by_target.get(target), record.published.get(target)
        if receipt is not None:
            name = ""
            if published is not None and published.run_id == receipt.run_id:
                name = f"{experiment.model_name} v{published.version}"
            models.append(TargetModel(target=target, receipt=receipt, registered_as=name))
        elif advice.get(target) and not is_open:
            models.append(TargetModel(target=target, note=advice[target]))
        else:
            note = _news(target, record, advice)
            models.append(TargetModel(target=target, missing=OPEN, note=note))
    return models


def is_under_way(record: SweepRecord, experiment: Experiment) -> bool:
    """Return whether something is left to train, by a job that runs or by the next one."""
    assert record.problem is not None
    has_open = any(run.is_open for run in record.runs.values())
    if has_open or experiment.is_single:
        return has_open
    state = read_state(record, experiment)
    return not isinstance(next_action(state, space_of(experiment, record.problem)), Finish)


def _news(target: Target | None, record: SweepRecord, advice: Mapping[Target | None, str]) -> str:
    """Return how far a target without a model is."""
    if not advice.get(target):
        return "a run hits it; the model is not packaged yet"
    aiming = [run for run in record.runs.values() if run.is_open and run.target == target]
    told = [f"{run.run_id} aims at it, after epoch {max(run.epochs, default=0)}" for run in aiming]
    return ", ".join(told) or "no run aims at it now"

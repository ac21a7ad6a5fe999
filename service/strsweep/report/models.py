"""What there is of every target: one table for page, terminal and notes in MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strsweep.config import Experiment
from strsweep.journal import SweepRecord
from strsweep.packages.receipt import Receipt
from strsweep.report.runs import Link
from strsweep.search.decide import Finish, next_action
from strsweep.search.outcome import outcomes_of
from strsweep.search.runs import read_state
from strsweep.search.space import space_of
from strsweep.settings import Metric, Target
from strsweep.table import Column, Row, rows_of, share

MISSED, OPEN = "missed", "open"


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

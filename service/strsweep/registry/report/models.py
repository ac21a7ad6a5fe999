"""What was asked and what was delivered: one row per target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from strsweep.config import Experiment
from strsweep.journal import SweepRecord
from strsweep.registry.receipt import Receipt
from strsweep.registry.report.runs import Link, shown
from strsweep.search.outcome import outcomes_of
from strsweep.settings import Quantity, Target

ModelState = Literal["landed", "as trained", "missed"]


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """One target and its model. Shares are fractions; None where nothing was delivered."""

    asked: str
    """Target as a person reads it; empty for a single run, which nobody aimed."""
    quantity: Quantity
    """What ``asked_at``, ``trained_at`` and ``landed_at`` are shares of: pruned weights, or
    multiply-adds left."""
    asked_at: float | None
    state: ModelState
    trained_at: float | None = None
    landed_at: float | None = None
    sparsity: float | None = None
    score_before: float | None = None
    score: float | None = None
    macs_before: int | None = None
    macs: int | None = None
    macs_share: float | None = None
    """Of the dense network's."""
    run_id: str = ""
    version: str = ""
    """Of the registered model; empty while it is not registered."""
    weights_sha256: str = ""
    advice: str = ""
    """What to change for a missed target."""
    link: str = ""


def model_rows(
    experiment: Experiment,
    record: SweepRecord,
    receipts: Sequence[Receipt],
    *,
    dense_macs: int,
    link: Link | None,
) -> tuple[ModelRow, ...]:
    """Return one row per target, in the order they were asked; then a single run's, if any."""
    by_target = {receipt.target: receipt for receipt in receipts}
    advice = _advice(experiment, record)
    targets: list[Target | None] = list(experiment.search.targets)
    targets += [None] if None in by_target else []
    return tuple(
        _row(target, by_target.get(target), record, advice.get(target, ""), dense_macs, link)
        for target in targets
    )


def _advice(experiment: Experiment, record: SweepRecord) -> dict[Target | None, str]:
    if experiment.is_single:
        return {}
    states = outcomes_of(record, experiment)
    return {state.target: state.advice for state in states}


def _row(
    target: Target | None,
    receipt: Receipt | None,
    record: SweepRecord,
    advice: str,
    dense_macs: int,
    link: Link | None,
) -> ModelRow:
    quantity: Quantity = "sparsity" if target is None else target.quantity
    asked_at = None if target is None else _as_shown(quantity, target.pruned(dense_macs))
    if receipt is None:
        return ModelRow(
            asked=shown(target),
            quantity=quantity,
            asked_at=asked_at,
            state="missed",
            advice=advice or "no model was delivered yet",
        )
    landed = receipt.landed
    sparsity = receipt.sparsity if landed is None else landed.sparsity_before
    macs = receipt.macs if landed is None else landed.macs_before
    share = receipt.macs / receipt.dense_macs
    return ModelRow(
        asked=shown(target),
        quantity=quantity,
        asked_at=asked_at,
        state="as trained" if landed is None else "landed",
        trained_at=sparsity if quantity == "sparsity" else macs / receipt.dense_macs,
        landed_at=receipt.sparsity if quantity == "sparsity" else share,
        sparsity=receipt.sparsity,
        score_before=receipt.score if landed is None else landed.score_before,
        score=receipt.score,
        macs_before=macs,
        macs=receipt.macs,
        macs_share=share,
        run_id=receipt.run_id,
        version=_version(record, receipt),
        weights_sha256=receipt.weights_sha256,
        link=link(receipt.run_id) if link else "",
    )


def _as_shown(quantity: Quantity, pruned: float) -> float:
    """Return a share to prune as its target names it: multiply-adds are named by what is left."""
    return pruned if quantity == "sparsity" else 1 - pruned


def _version(record: SweepRecord, receipt: Receipt) -> str:
    published = record.published.get(receipt.target)
    return published.version if published and published.run_id == receipt.run_id else ""

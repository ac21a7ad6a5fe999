"""What was tried, in order: one row per run."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from strsweep.journal import RunRecord
from strsweep.registry.receipt import Receipt
from strsweep.settings import Quantity, Target

Link = Callable[[str], str]
"""Maps a run id to the address of its page."""
State = Literal["finished", "stopped", "failed", "under way"]
Role = Literal["", "dense", "shared start"]
"""What a run without thresholds is for: the dense network, or the epochs that runs share."""


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One run, as its last epoch left it. Shares are fractions; None is what is not known."""

    run_id: str
    state: State
    role: Role
    aim: str
    """Target as a person reads it; empty if it aimed at none."""
    quantity: Quantity
    """What ``pruned`` is a share of."""
    pruned: float | None
    """Share that its last epoch had pruned."""
    weight_decay: float
    threshold_decay: float | None
    """The mean over the epochs that thresholds acted in, by learning rate: by this much they were
    moved. None if they never acted."""
    shared_epochs: int
    """Trained by another run; this one began after them."""
    threshold_init: float | None
    sparsity: float | None
    score: float | None
    macs: int | None
    macs_share: float | None
    """Of the dense network's."""
    last_epoch: int
    epochs_paid: int
    """Repeated ones included."""
    hours_paid: float
    reason: str
    """Why it was tried."""
    ended: str
    """Why it is not finished; empty for a finished run."""
    refines: str
    delivered_for: str
    """Targets that its model was delivered for."""
    link: str

    @property
    def purpose(self) -> str:
        """What it was trained for, in a word or two; empty for a single run."""
        return self.role or self.aim


def run_rows(
    runs: Iterable[RunRecord],
    receipts: Iterable[Receipt],
    *,
    dense_macs: int,
    link: Link | None,
) -> tuple[RunRow, ...]:
    """Return one row per run, in the order of proposal.

    Args:
        runs: Of the journal's record.
        receipts: Of the models that were delivered.
        dense_macs: Multiply-adds of the dense network for one input.
        link: Where the page of a run is; None for no links.
    """
    delivered: Mapping[str, list[str]] = defaultdict(list)
    for receipt in receipts:
        delivered[receipt.run_id].append(shown(receipt.target))
    return tuple(
        _row(run, ", ".join(delivered[run.run_id]), dense_macs, link(run.run_id) if link else "")
        for run in runs
    )


def state_of(run: RunRecord) -> State:
    """Return how far a run came."""
    if run.finished is not None:
        return "finished"
    if run.failed is not None:
        return "failed"
    return "under way" if run.stopped is None else "stopped"


def role_of(run: RunRecord) -> Role:
    """Return what a run without thresholds is for; empty for any other."""
    if not run.settings.is_dense:
        return ""
    return "dense" if run.settings.last_epoch is None else "shared start"


def run_hours(run: RunRecord) -> float:
    """Return the hours of training that a run took; an epoch that was repeated counts as any."""
    seconds = [event.metrics.get("seconds", 0.0) for event in run.epochs.values()]
    return statistics.fmean(seconds) * run.num_epochs_trained / 3600 if seconds else 0.0


def shown(target: Target | None) -> str:
    """Return a target as a person reads it; empty for none."""
    return "" if target is None else str(target)


def model_name(receipt: Receipt) -> str:
    """Return what a delivered model is called: its target, or its run where it had none."""
    return shown(receipt.target) or receipt.run_id


def _row(run: RunRecord, delivered_for: str, dense_macs: int, link: str) -> RunRow:
    aim = run.target or run.proposed.refines
    quantity: Quantity = "sparsity" if aim is None else aim.quantity
    epochs = run.epochs
    last = epochs[max(epochs)].metrics if epochs else {}
    last = run.finished.metrics if run.finished is not None else last
    macs = int(last["macs"]) if "macs" in last else None
    macs_share = None if macs is None else macs / dense_macs
    pruned = {
        "sparsity": last.get("sparsity"),
        "macs": None if macs is None else 1 - macs / dense_macs,
    }
    return RunRow(
        run_id=run.run_id,
        state=state_of(run),
        role=role_of(run),
        aim=shown(aim),
        quantity=quantity,
        pruned=pruned[quantity],
        weight_decay=run.settings.weight_decay,
        threshold_decay=_mean_decay(run),
        shared_epochs=run.settings.fork.epoch if run.settings.fork else 0,
        threshold_init=run.settings.threshold_init,
        sparsity=last.get("sparsity"),
        score=last.get(metric.name),
        macs=macs,
        macs_share=macs_share,
        last_epoch=max(epochs, default=0),
        epochs_paid=run.num_epochs_trained,
        hours_paid=run_hours(run),
        reason=run.proposed.reason,
        ended=_why_ended(run),
        refines=shown(run.proposed.refines),
        delivered_for=delivered_for,
        link=link,
    )


def _mean_decay(run: RunRecord) -> float | None:
    settings = run.settings
    rows = [row.metrics for epoch, row in run.epochs.items() if epoch > settings.onset]
    if settings.threshold_init is None or settings.is_dense or not rows:
        return None
    moved = math.fsum(row["threshold_decay"] * row["learning_rate"] for row in rows)
    return moved / math.fsum(row["learning_rate"] for row in rows)


def _why_ended(run: RunRecord) -> str:
    if run.finished is not None:
        return ""
    if run.failed is not None:
        return run.failed.reason
    return "" if run.stopped is None else run.stopped.reason

"""What the benchmark of the methods says: mean and spread over the seeds, and the best."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from strsweep.bench.methods import Outcome


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Mean and standard deviation over the seeds of one method in one case."""

    epochs: int
    target: float
    method: str
    seeds: int
    """That reached the target."""
    sparsity: float
    accuracy: float
    accuracy_spread: float
    macs_share: float
    """Of the dense network."""
    macs_share_spread: float
    epochs_spent: float
    """For one network."""


@dataclass(frozen=True, kw_only=True)
class Winner:
    """The method with the best mean accuracy of one case, and how sure that is."""

    epochs: int
    target: float
    method: str
    lead: float
    """On the mean accuracy of the second."""
    is_within_spread: bool
    """True if the lead is no more than the larger standard deviation of the two."""


def summarize(found: Iterable[Outcome]) -> list[Summary]:
    """Return one summary per epochs, target and method, in this order."""
    groups: dict[tuple[int, float, str], list[Outcome]] = {}
    for outcome in found:
        key = (outcome.epochs, outcome.target, outcome.method)
        groups.setdefault(key, []).append(outcome)
    return [_summary(group) for _, group in sorted(groups.items(), key=lambda item: item[0][:2])]


def winners(summaries: Sequence[Summary]) -> list[Winner]:
    """Return the best method of every case with two methods or more.

    One that missed the target with some seed is not compared: the others did not have to be lucky.
    """
    cases: dict[tuple[int, float], list[Summary]] = {}
    for summary in summaries:
        cases.setdefault((summary.epochs, summary.target), []).append(summary)
    always = [_always_there(case) for case in cases.values()]
    return [_winner(case) for case in always if len(case) > 1]


def markdown(summaries: Sequence[Summary]) -> Iterator[str]:
    """Yield the lines of a table, and of a list of the best methods."""
    yield "| epochs | sparsity | method | seeds | accuracy | MACs of dense | epochs spent |"
    yield "|---|---|---|---|---|---|---|"
    for row in summaries:
        yield (
            f"| {row.epochs} | {row.sparsity:.2%} | {row.method} | {row.seeds} "
            f"| {row.accuracy:.2%} ± {100 * row.accuracy_spread:.2f} "
            f"| {row.macs_share:.2%} ± {100 * row.macs_share_spread:.2f} "
            f"| {row.epochs_spent:.0f} |"
        )
    yield ""
    for best in winners(summaries):
        sure = "within the spread" if best.is_within_spread else "more than the spread"
        yield (
            f"{best.epochs} epochs, {best.target * 100:g} %: best is {best.method}, by "
            f"{100 * best.lead:.2f} points, {sure}"
        )


def _summary(group: Sequence[Outcome]) -> Summary:
    accuracies = [outcome.accuracy for outcome in group]
    shares = [outcome.macs / outcome.dense_macs for outcome in group]
    return Summary(
        epochs=group[0].epochs,
        target=group[0].target,
        method=group[0].method,
        seeds=len(group),
        sparsity=statistics.mean(outcome.sparsity for outcome in group),
        accuracy=statistics.mean(accuracies),
        accuracy_spread=_spread(accuracies),
        macs_share=statistics.mean(shares),
        macs_share_spread=_spread(shares),
        epochs_spent=statistics.mean(outcome.epochs_spent for outcome in group),
    )


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan


def _always_there(case: Sequence[Summary]) -> list[Summary]:
    seeds = max(summary.seeds for summary in case)
    return [summary for summary in case if summary.seeds == seeds]


def _winner(case: Sequence[Summary]) -> Winner:
    first, second = sorted(case, key=lambda summary: -summary.accuracy)[:2]
    lead = first.accuracy - second.accuracy
    return Winner(
        epochs=first.epochs,
        target=first.target,
        method=first.method,
        lead=lead,
        is_within_spread=lead <= max(first.accuracy_spread, second.accuracy_spread),
    )

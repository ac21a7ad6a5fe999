"""What the comparison of searches says: costs, hits, misses and accuracies over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from strsweep.bench.search_cost import Row
from strsweep.bench.search_forecast import ForecastCheck, ForecastSummary, summarize_forecasts

_ACCURACIES = ("ours", "uncorrected", "steered", "plain")
_TITLES = {
    "ours": "strsweep",
    "uncorrected": "one weight decay",
    "steered": "steered",
    "gp": "Optuna GP",
    "tpe": "Optuna TPE",
    "plain": "plain STR",
}


@dataclass(frozen=True, kw_only=True)
class CostSummary:
    """What a method costs on one problem, in full runs per target."""

    problem: str
    method: str
    costs: tuple[float, ...]
    """Of every seed, rising."""
    hits: int
    wanted: int
    miss_before: float
    """Largest of all seeds; so is ``miss_after``."""
    miss_after: float | None

    @property
    def median(self) -> float:
        """Middle of the costs."""
        return statistics.median(self.costs)

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the seeds is cheaper than the first, a quarter dearer than the second."""
        if len(self.costs) == 1:
            return self.costs[0], self.costs[0]
        low, _, high = statistics.quantiles(self.costs, n=4, method="inclusive")
        return low, high


def title(method: str) -> str:
    """Return the name of ``method`` for tables and pictures."""
    return _TITLES.get(method, method)


def summarize_costs(rows: Iterable[Row]) -> list[CostSummary]:
    """Return one summary per problem and search, in the order of ``rows``."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.cost_per_target is not None:
            groups.setdefault((row.problem, row.method), []).append(row)
    return [_summary(group) for group in groups.values()]


def _summary(group: Sequence[Row]) -> CostSummary:
    after = [row.worst_miss_after for row in group if row.worst_miss_after is not None]
    return CostSummary(
        problem=group[0].problem,
        method=group[0].method,
        costs=tuple(sorted(row.cost_per_target or 0.0 for row in group)),
        hits=sum(row.targets_hit for row in group),
        wanted=sum(len(row.targets) for row in group),
        miss_before=max(row.worst_miss_before_landing or 0.0 for row in group),
        miss_after=max(after) if len(after) == len(group) else None,
    )


def report(rows: Sequence[Row], forecasts: Sequence[ForecastCheck]) -> Iterator[str]:
    """Yield the lines of all tables."""
    yield from cost_table(summarize_costs(rows))
    yield ""
    yield from accuracy_table(rows)
    yield ""
    yield from forecast_table(summarize_forecasts(forecasts))


def cost_table(summaries: Iterable[CostSummary]) -> Iterator[str]:
    """Yield the lines of the table of costs."""
    yield (
        "| problem | method | seeds | runs per target | quartiles | extremes | targets hit "
        "| worst miss | landed |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for cost in summaries:
        low, high = cost.quartiles
        yield (
            f"| {cost.problem} | {title(cost.method)} | {len(cost.costs)} | {cost.median:.2f} "
            f"| {low:.2f} to {high:.2f} | {cost.costs[0]:.2f} to {cost.costs[-1]:.2f} "
            f"| {cost.hits} of {cost.wanted} | {_points(cost.miss_before)} "
            f"| {_points(cost.miss_after)} |"
        )


def accuracy_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table of accuracies: mean and standard deviation over the seeds."""
    yield "| problem | sparsity | " + " | ".join(map(title, _ACCURACIES)) + " |"
    yield "|---|---|" + "---|" * len(_ACCURACIES)
    for problem in dict.fromkeys(row.problem for row in rows):
        here = [row for row in rows if row.problem == problem]
        for index, target in enumerate(here[0].targets):
            cells = [
                _mean([row.accuracies[index] for row in here if row.method == method])
                for method in _ACCURACIES
            ]
            yield f"| {problem} | {target:.0%} | " + " | ".join(cells) + " |"


def forecast_table(summaries: Iterable[ForecastSummary]) -> Iterator[str]:
    """Yield the lines of the table of forecasts."""
    yield "| of training | forecasts | rms error | truth inside the 90 % interval |"
    yield "|---|---|---|---|"
    for summary in summaries:
        yield (
            f"| {summary.share:.0%} | {summary.forecasts} | {summary.rms_points:.2f} points "
            f"| {summary.covered:.0%} |"
        )


def _mean(accuracies: Sequence[float | None]) -> str:
    known = [accuracy for accuracy in accuracies if accuracy is not None]
    if not known:
        return "-"
    spread = f" ± {100 * statistics.stdev(known):.2f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.2%}{spread}"


def _points(miss: float | None) -> str:
    return "-" if miss is None else f"{100 * miss:.2g} points"

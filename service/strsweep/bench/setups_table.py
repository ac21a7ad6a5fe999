"""Tables of sweeps that start from ``auto``, and of sweeps that get one more target."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich import box
from rich.table import Table

from strsweep.bench.search_growth import GrowthRow
from strsweep.bench.search_setups import SetupRow


def setups_table(rows: Sequence[SetupRow]) -> Table:
    """Return one line per setup and seed."""
    table = _table(
        "auto on setups that nothing was tuned for: the first run, and the whole sweep",
        *("setup", "seed", "threshold init", "aims at", "reaches", "weight decay", "right one"),
        *("factor", "worst factor", "runs per target", "hit", "worst miss", "landed"),
    )
    for row in rows:
        table.add_row(
            row.setup,
            str(row.seed),
            f"{row.threshold_init:g}",
            f"{row.aimed_at:.0%}",
            f"{row.reached:.2%}",
            f"{row.first_guess:.3g}",
            f"{row.right:.3g}",
            f"{row.factor:.2f}",
            f"{max(row.factors):.2f}",
            f"{row.cost_per_target:.2f}",
            f"{row.targets_hit} of {row.targets}",
            _points(row.worst_miss_before_landing),
            "-" if row.worst_miss_after is None else _points(row.worst_miss_after),
        )
    return table


def growth_table(rows: Sequence[GrowthRow]) -> Table:
    """Return one line per problem and seed."""
    added, again = rows[0].added, rows[0].asked_again
    table = _table(
        "one more target for a finished sweep, in full runs",
        *("problem", "seed", "targets before", "cost of these", f"cost of {added:.0%}"),
        *("its miss", f"cost of {again:.0%} again"),
    )
    for row in rows:
        table.add_row(
            row.problem,
            str(row.seed),
            " ".join(f"{target:.0%}" for target in row.targets),
            f"{row.cost_before:.2f}",
            f"{row.cost_of_added:.2f}",
            _points(abs(row.miss_of_added)),
            f"{row.cost_of_asked_again:.2f}",
        )
    costs = [row.cost_of_added for row in rows]
    table.caption = f"median cost of {added:.0%}: {statistics.median(costs):.2f} runs"
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", caption_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def _points(miss: float) -> str:
    return f"{100 * miss:.2g} points"

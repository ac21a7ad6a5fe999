"""What the sweep cost, beside one run per delivered model by somebody who knew the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from strsweep.registry.report.models import ModelRow
from strsweep.registry.report.runs import RunRow


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Runs, epochs and hours; hours are those of training and validation, over all runs."""

    runs: int
    """Stopped and failed ones included."""
    epochs: int
    hours: float
    hours_per_epoch: float
    targets: int
    delivered: int
    one_each_epochs: int
    """Of one full run for every target that was delivered."""

    @property
    def one_each_hours(self) -> float:
        """Hours of one full run for every target that was delivered."""
        return self.one_each_epochs * self.hours_per_epoch

    @property
    def ratio(self) -> float | None:
        """Epochs of the sweep per epoch of one run for every delivered target; None without any."""
        return self.epochs / self.one_each_epochs if self.one_each_epochs else None


def cost_of(runs: Sequence[RunRow], models: Sequence[ModelRow], *, epochs_per_run: int) -> Cost:
    """Return the cost of a sweep of ``runs``, which gave ``models``."""
    epochs, hours = sum(run.epochs_paid for run in runs), sum(run.hours_paid for run in runs)
    delivered = sum(model.state != "missed" for model in models)
    return Cost(
        runs=len(runs),
        epochs=epochs,
        hours=hours,
        hours_per_epoch=hours / epochs if epochs else 0.0,
        targets=len(models),
        delivered=delivered,
        one_each_epochs=delivered * epochs_per_run,
    )

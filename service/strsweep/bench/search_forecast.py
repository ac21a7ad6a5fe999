"""How well the search tells in the middle of a run where it will end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from strsweep.bench.search_runs import RecordedRun
from strsweep.config import RunSettings
from strsweep.sweep.clock import DecayClock
from strsweep.sweep.curve import expit, logit
from strsweep.sweep.outlook import Outlook
from strsweep.sweep.path import SearchPath
from strsweep.sweep.state import FinishedRun, Goal, Snapshot, UnfinishedRun

SHARES = (0.33, 0.50, 0.67, 0.80)
"""Of training, at which a forecast is asked for."""
_NINETY_PERCENT = 1.645
"""Standard deviations to each side."""


@dataclass(frozen=True, kw_only=True)
class ForecastCheck:
    """One forecast beside what came true. Sparsities are fractions."""

    share: float
    runs_known: int
    """Finished before the run began."""
    forecast: float
    low: float
    """End of the stated 90 % interval; so is ``high``."""
    high: float
    truth: float


@dataclass(frozen=True, kw_only=True)
class ForecastSummary:
    """All forecasts at one share of training."""

    share: float
    forecasts: int
    rms_points: float
    covered: float
    """Share of the truths inside their 90 % interval."""


def snapshots(
    run: RecordedRun, settings: RunSettings, clock: DecayClock, dense_macs: int, epochs: int
) -> tuple[Snapshot, ...]:
    """Return the first ``epochs`` of ``run``, which has ``settings``, as the search sees them."""
    seen = zip(run.sparsity[:epochs], run.macs[:epochs], strict=True)
    return tuple(
        Snapshot(
            epoch=epoch,
            drive=clock.drive_after(settings, epoch),
            sparsity=sparsity,
            macs_pruned=1 - macs / dense_macs,
        )
        for epoch, (sparsity, macs) in enumerate(seen, start=1)
    )


def check_forecasts(
    goal: Goal,
    path: SearchPath,
    finished: Sequence[FinishedRun],
    run: UnfinishedRun,
    whole: RecordedRun,
) -> Iterator[ForecastCheck]:
    """Yield a forecast for every one of ``SHARES``, from the runs that were finished by then.

    Args:
        goal: Of the search.
        path: Of the search.
        finished: Before the run began; none gives no forecast.
        run: As it begins.
        whole: The same run to its end, also if the search stops it before.
    """
    settings = path.at(run.position)
    for share in SHARES if finished else ():
        epochs = round(share * whole.epochs)
        trajectory = snapshots(whole, settings, path.clock, goal.dense_macs, epochs)
        now = UnfinishedRun(
            run_id=run.run_id, position=run.position, target=run.target, trajectory=trajectory
        )
        end = Outlook(goal, path, finished, [now]).forecasts([now], "sparsity")
        level, margin = float(end.mean[0]), _NINETY_PERCENT * float(end.sd[0])
        yield ForecastCheck(
            share=share,
            runs_known=len(finished),
            forecast=expit(level),
            low=expit(level - margin),
            high=expit(level + margin),
            truth=expit(logit(whole.final)),
        )


def summarize_forecasts(checks: Iterable[ForecastCheck]) -> list[ForecastSummary]:
    """Return error and coverage by share of training."""
    by_share: dict[float, list[ForecastCheck]] = {}
    for check in checks:
        by_share.setdefault(check.share, []).append(check)
    return [_summary(share, group) for share, group in sorted(by_share.items())]


def _summary(share: float, group: Sequence[ForecastCheck]) -> ForecastSummary:
    squares = [(check.forecast - check.truth) ** 2 for check in group]
    return ForecastSummary(
        share=share,
        forecasts=len(group),
        rms_points=100 * math.sqrt(math.fsum(squares) / len(group)),
        covered=sum(check.low <= check.truth <= check.high for check in group) / len(group),
    )

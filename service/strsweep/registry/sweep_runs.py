"""The MLflow runs of one sweep: found with one search, made once, never doubled.

All of this raises ``MlflowException`` if the server does not answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlflow import MlflowClient
from mlflow.entities import Metric, Run, ViewType

from strsweep.registry.server import every

NAME_TAG = "mlflow.runName"
PARENT_TAG = "mlflow.parentRunId"
TARGET_TAG, STATE_TAG = "target", "state"
"""What the table of runs tells of sweeps and runs beside their metrics."""
SWEEP = "sweep"
"""Stands for the sweep itself where others have a run id."""
_SWEEP_TAG, _RUN_TAG = "strsweep.sweep_id", "strsweep.run_id"


@dataclass(kw_only=True)
class ShownRun:
    """What MLflow has of one run."""

    mlflow_id: str
    status: str = "RUNNING"
    epoch: int = 0
    """Newest that was delivered: epochs are sent in order."""
    params: set[str] = field(default_factory=set[str])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    metrics: dict[str, float] = field(default_factory=dict[str, float])


def metrics_at(time: float, step: int, values: Mapping[str, float]) -> list[Metric]:
    """Return MLflow's metrics of one moment, in seconds since 1970."""
    return [Metric(key, value, int(time * 1000), step) for key, value in values.items()]


def show_as(client: MlflowClient, shown: ShownRun, status: str, end: float | None = None) -> None:
    """Give a run its status, and with an end, in seconds since 1970, the time it was reached."""
    if shown.status == status:
        return
    if end is None:
        client.update_run(shown.mlflow_id, status=status)
    else:
        client.set_terminated(shown.mlflow_id, status, end_time=int(end * 1000))
    shown.status = status


class SweepRuns:
    """Our run id -> what MLflow has of it; ``SWEEP`` stands for the sweep itself.

    Two writers can make the same run at once, and so can one whose request was answered too late.
    Whoever sees two keeps the one that is first by start and id, which is the same for everybody,
    and deletes the other; whoever wrote to that one is refused, and looks again.

    A run that somebody deleted in MLflow is restored: the journal still has it. ``place`` is
    MLflow's id of the experiment.
    """

    def __init__(self, client: MlflowClient, place: str, sweep_id: str) -> None:
        self._client, self.place, self._sweep_id = client, place, sweep_id
        self._made: set[str] = set()
        """Runs that nobody looked for since they were made."""
        self._known = {run_id: _shown(run) for run_id, run in self._found().items()}

    def get(self, run_id: str) -> ShownRun | None:
        """Return what MLflow has of a run."""
        return self._known.get(run_id)

    @property
    def under_way(self) -> list[ShownRun]:
        """The runs that MLflow shows as running, the sweep's own included."""
        return [shown for shown in self._known.values() if shown.status == "RUNNING"]

    def make(self, run_id: str, tags: dict[str, str], *, start: float) -> ShownRun:
        """Make a run that started ``start`` seconds after 1970; its name is one of the tags."""
        tags = {**tags, _SWEEP_TAG: self._sweep_id, _RUN_TAG: run_id}
        made = self._client.create_run(
            self.place, start_time=int(start * 1000), tags=tags, run_name=tags[NAME_TAG]
        )
        shown = ShownRun(mlflow_id=made.info.run_id, tags=tags)
        self._known[run_id] = shown
        self._made.add(run_id)
        return shown

    def settle(self) -> bool:
        """Look again for the runs that were made; returns False if another one is to be kept."""
        if not self._made:
            return True
        found = self._found()
        made, self._made = self._made, set()
        return all(
            run_id in found and found[run_id].info.run_id == self._known[run_id].mlflow_id
            for run_id in made
        )

    def _found(self) -> dict[str, Run]:
        query, place = f"tags.`{_SWEEP_TAG}` = '{self._sweep_id}'", [self.place]
        search, groups = self._client.search_runs, defaultdict[str, list[Run]](list)
        for run in every(lambda size, at: search(place, query, ViewType.ALL, size, None, at)):
            groups[run.data.tags[_RUN_TAG]].append(run)
        kept = {run_id: self._kept(runs) for run_id, runs in groups.items()}
        self._nest(kept)
        return kept

    def _nest(self, runs: dict[str, Run]) -> None:
        """Bring children home that were made under a sweep's run that was not kept."""
        if (sweep := runs.get(SWEEP)) is None:
            return
        for run in runs.values():
            if run.data.tags.get(PARENT_TAG, sweep.info.run_id) != sweep.info.run_id:
                self._client.set_tag(run.info.run_id, PARENT_TAG, sweep.info.run_id)
                run.data.tags[PARENT_TAG] = sweep.info.run_id

    def _kept(self, runs: Sequence[Run]) -> Run:
        ordered = sorted(runs, key=lambda run: (run.info.start_time, run.info.run_id))
        active = [run for run in ordered if run.info.lifecycle_stage == "active"]
        if not active:
            self._client.restore_run(ordered[0].info.run_id)
            return ordered[0]
        for extra in active[1:]:
            self._client.delete_run(extra.info.run_id)
        return active[0]


def _shown(run: Run) -> ShownRun:
    return ShownRun(
        mlflow_id=run.info.run_id,
        status=run.info.status,
        epoch=int(run.data.metrics.get("epoch", 0)),
        params=set(run.data.params),
        tags=dict(run.data.tags),
        metrics=dict(run.data.metrics),
    )

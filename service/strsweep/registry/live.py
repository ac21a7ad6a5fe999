"""Register models while their sweep goes on, each as soon as its run has landed."""

from __future__ import annotations

import time

from strsweep.config import Experiment
from strsweep.journal import SweepRecord
from strsweep.packages.package import Package
from strsweep.progress import say
from strsweep.registry.delivery import Delivered
from strsweep.registry.publish import Publisher
from strsweep.registry.tracking import Tracking
from strsweep.search.outcome import TargetOutcome, outcomes
from strsweep.search.runs import StateReader
from strsweep.search.space import space_of
from strsweep.settings import Target
from strsweep.training.landing import needs_landing

_RETRY_S = 60.0
"""Between two tries of a model that could not be delivered."""


class LiveDelivery:
    """Delivers what can be delivered now; ``Tracking`` calls it in its background.

    Whatever it cannot do is reported once, and left to ``publish_sweep`` at the end.

    Args:
        experiment: Of the sweep, without ``auto``.
        tracking: Of the same job.
    """

    def __init__(self, experiment: Experiment, tracking: Tracking) -> None:
        self._experiment, self._tracking = experiment, tracking
        self._reader: StateReader | None = None
        self._seen = (0, 0)
        """Runs that had finished, and landings, when nothing was left to deliver."""
        self._models: dict[Target, Delivered] = {}
        self._delivered: dict[Target, str] = {}
        """Target -> run id of its model."""
        self._retry_at = 0.0
        self._reported: set[str] = set()

    def __call__(self, record: SweepRecord) -> None:
        """Deliver what became deliverable, one model after the other; never raises."""
        seen = len(record.finished_runs), len(record.landed)
        if seen == self._seen or time.monotonic() < self._retry_at:
            return
        try:
            is_done = [self._deliver(state, record) for state in self._new(record)]
            if all(is_done):
                self._seen = seen
                return
        except Exception as error:  # a model of a user's own can raise anything
            self._report(f"a model is not delivered before the end of the sweep: {error!r}")
        self._retry_at = time.monotonic() + _RETRY_S

    def _new(self, record: SweepRecord) -> list[TargetOutcome]:
        """Return the targets whose run can be delivered and is not."""
        assert record.problem is not None
        self._reader = self._reader or StateReader(self._experiment, record.problem)
        space = space_of(self._experiment, record.problem)
        return [
            state
            for state in outcomes(self._reader.state(record), space)
            if state.run is not None
            if self._delivered.get(state.target) != state.run.run_id
            if not needs_landing(
                self._experiment, record, record.runs[state.run.run_id], state.target
            )
        ]

    def _deliver(self, state: TargetOutcome, record: SweepRecord) -> bool:
        """Package and register the run of a target; returns whether that is done."""
        if self._tracking.is_ending:
            return False
        assert state.run is not None
        publisher = Publisher(self._experiment, record, self._tracking, 0, self._report)
        made = publisher.packaged(state.run.run_id, state.target)
        if not isinstance(made, Package):
            self._report(f"{state.target} is not packaged before the end of the sweep: {made}")
            return False
        model = publisher.registered(state, made)
        if model.version is None:
            return False
        self._models[state.target], self._delivered[state.target] = model, state.run.run_id
        publisher.show([*self._models.values()], has_report=True)
        say(f"{state.target} is registered: {self._experiment.model_name} v{model.version}")
        return True

    def _report(self, text: str) -> None:
        if text not in self._reported:
            say(text)
        self._reported.add(text)

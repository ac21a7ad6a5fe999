"""A sweep of digits without Ray: its runs are trained here, its journal is what workers write."""

from __future__ import annotations

from pathlib import Path

from samples import load
from trained_sweep import TrainedSweep

from strsweep.journal import RunStopped
from strsweep.registry import Delivery, LiveDelivery, Tracking, publish_sweep
from strsweep.search.runs import read_state
from strsweep.search.space import LawSpace
from strsweep.settings import RunSettings, Target

EPOCHS = 20
TRIED = [(0.94, EPOCHS), (0.8, 15), (0.8, EPOCHS)]
"""Aim, and the epoch where it ends: the second of these runs is stopped early."""


class DigitsSweep(TrainedSweep):
    """The dense network, and three targets: two are hit and landed, one is not tried."""

    def __init__(self, folder: Path, tracking_uri: str, name: str = "digits") -> None:
        places = (f"name={name}", f"storage.path={folder}", f"tracking.uri={tracking_uri}")
        search = ("search.targets=[0.8, 0.94, 0.995]", "search.baseline=true")
        super().__init__(load(f"training.epochs={EPOCHS}", *search, *places))
        self.delivery: Delivery | None = None

    def fill(self) -> DigitsSweep:
        """Train the runs, and land those that hit."""
        self._begin()
        for aim, last in TRIED:
            self._run(Target(sparsity=aim), last)
        self.land()
        return self

    def half(self) -> DigitsSweep:
        """Train half of it: a target is landed and registered, and the next run is under way."""
        self._begin()
        self._run(Target(sparsity=TRIED[0][0]), EPOCHS)
        self.land()
        self._train(self._settings(Target(sparsity=0.8)), Target(sparsity=0.8), EPOCHS // 2)
        with Tracking(self.experiment):
            pass
        tracking = Tracking(self.experiment)
        LiveDelivery(self.experiment, tracking)(tracking.deliver())
        tracking.deliver()
        return self

    def deliver(self) -> DigitsSweep:
        """Hand everything to MLflow."""
        with Tracking(self.experiment) as tracking:
            pass
        self.delivery = publish_sweep(self.experiment, tracking)
        return self

    def _begin(self) -> None:
        self.start()
        self._train(self._space.dense(is_whole=True), None, EPOCHS)

    def _run(self, target: Target, last: int) -> None:
        run_id = self._train(self._settings(target), target, last)
        if last < EPOCHS:
            why = "would end between 97.12% and 98.31%, where no target is open"
            self.journal.append(RunStopped(run_id=run_id, epoch=last, reason=why))

    def _train(self, settings: RunSettings, target: Target | None, last: int) -> str:
        reason = "the dense network" if target is None else "by the law alone"
        run_id = self.propose(settings, target, reason)
        self.train(run_id, settings, lambda epoch: epoch == last < EPOCHS)
        return run_id

    def _settings(self, target: Target) -> RunSettings:
        return self._space.settings(target, read_state(self.record, self.experiment))

    @property
    def _space(self) -> LawSpace:
        return LawSpace(self.experiment, self.problem)

"""Runs as values: trained once and remembered, or read between recorded ones."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import strsweep
from strsweep.config import Experiment, Problem
from strsweep.search.goal import Window
from strsweep.settings import Fork, RunSettings
from strsweep.training import law
from strsweep.training.checkpoints import State, copied
from strsweep.training.landing import land_run
from strsweep.training.law import Law, ThresholdClock, expit, logit
from strsweep.training.leader import leader_of
from strsweep.training.run import TrainingRun

_CPU = torch.device("cpu")
_TRAINING_CODE = ("data", "models", "sparsity", "training")
"""Parts of the package that decide how a run ends."""


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """A run after one of its epochs."""

    sparsity: float
    macs: int
    accuracy: float
    threshold_decay: float


@dataclass(frozen=True, kw_only=True)
class Landed:
    """A finished run after all thresholds were shifted to a target."""

    target: float
    sparsity: float
    accuracy: float
    macs: int
    ranks: dict[str, int] = field(default_factory=dict[str, int])
    """Of the layers whose rank was learned."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A run from its first epoch to its last."""

    epochs: tuple[Epoch, ...]
    landed: tuple[Landed, ...] = ()
    """On every target that is near enough; empty if nothing was landed."""

    @property
    def last(self) -> Epoch:
        """The run as it ended."""
        return self.epochs[-1]

    def landed_on(self, target: float) -> Landed | None:
        """Return the run landed on ``target``; None if that was not tried."""
        return next((landed for landed in self.landed if landed.target == target), None)

    @classmethod
    def of(cls, line: dict[str, Any]) -> Trained:
        """Read what ``asdict`` and JSON made of a run."""
        epochs = tuple(Epoch(**epoch) for epoch in line["epochs"])
        return cls(epochs=epochs, landed=tuple(Landed(**landed) for landed in line["landed"]))


class TrainedRuns:
    """Trains what is asked for, and nothing twice.

    Args:
        experiment: Without ``auto``.
        problem: Its network and data.
        memo: A file of JSON lines that several processes may share.
    """

    def __init__(self, experiment: Experiment, problem: Problem, memo: Path) -> None:
        self._experiment, self._problem, self._memo = experiment, problem, memo
        self._recipe = f"{experiment.name}-{_recipe(experiment)}-{code_id()}"
        lines = (line for line in json_lines(memo) if line["recipe"] == self._recipe)
        self._known = {line["settings"]: Trained.of(line) for line in lines}
        self._prefix: State | None = None

    def train(self, settings: RunSettings) -> Trained:
        """Return the whole run with ``settings``; a forked one begins with the shared epochs."""
        key = settings.model_dump_json(exclude_none=True, exclude={"fork"})
        if key not in self._known:
            self._known[key] = trained = self._trained(settings)
            self._remember(key, trained)
        return self._known[key]

    def finished(self, settings: RunSettings) -> TrainingRun:
        """Train ``settings`` to the end and return the run itself."""
        run = TrainingRun(self._experiment, settings, device=_CPU)
        if settings.fork is not None:
            run.load_state(copy.deepcopy(self._shared(settings)))
        for metrics in run.epochs():
            if metrics.epoch == settings.shared_epoch:
                self._prefix = copied(run.state())
        return run

    def _shared(self, settings: RunSettings) -> State:
        if self._prefix is None:  # remembered, but not trained here
            start = {"is_dense": True, "last_epoch": settings.onset, "fork": None, "lead": None}
            self.finished(settings.model_copy(update=start))
        assert self._prefix is not None
        return self._prefix

    def _trained(self, settings: RunSettings) -> Trained:
        run = self.finished(settings)
        epochs = tuple(
            Epoch(
                sparsity=metrics.sparsity,
                macs=metrics.macs,
                accuracy=metrics.task["accuracy"],
                threshold_decay=metrics.threshold_decay,
            )
            for metrics in run.history
        )
        if settings.is_dense or not self._experiment.sparsity.can_land:
            return Trained(epochs=epochs)
        return Trained(epochs=epochs, landed=tuple(self._landed(settings, run)))

    def _landed(self, settings: RunSettings, run: TrainingRun) -> Iterator[Landed]:
        last, state = run.history[-1], run.state()
        for target in self._experiment.search.targets:
            pruned = self._problem.pruned(target)
            ended = (
                last.sparsity if target.quantity == "sparsity" else 1 - last.macs / last.dense_macs
            )
            if ended not in Window.around(pruned, None):
                continue
            after = land_run(self._experiment, settings, state, target)
            yield Landed(
                target=pruned,
                sparsity=after.report.sparsity,
                accuracy=after.metrics["accuracy"],
                macs=after.report.macs or 0,
                ranks=after.report.ranks,
            )

    def _remember(self, key: str, trained: Trained) -> None:
        line = {"recipe": self._recipe, "settings": key, **asdict(trained)}
        self._memo.parent.mkdir(parents=True, exist_ok=True)
        with self._memo.open("a") as file:  # one write: lines of processes do not mix
            file.write(json.dumps(line, separators=(",", ":")) + "\n")


def shared_fork(onset: int) -> Fork | None:
    """Return what lets ``TrainedRuns`` train the epochs before ``onset`` once; None without any."""
    return Fork(folder="shared", epoch=onset) if onset else None


@cache
def code_id() -> str:
    """Return a fingerprint of the code that trains: runs of other code are not comparable."""
    root = Path(strsweep.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for part in _TRAINING_CODE for path in (root / part).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what stands on the lines of a file; nothing if it is not there."""
    if path.exists():
        with path.open() as file:
            yield from map(json.loads, file)


def _recipe(experiment: Experiment) -> str:
    targets = [target.label for target in experiment.search.targets]
    settings = (experiment.recipe_id, experiment.search.decay, targets, str(law.FITTED))
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]


class ReplayedRuns:
    """Interpolates recorded runs of one decay each, which takes no time.

    After every epoch a run is where a recorded run of the same exposure by then is; between two of
    them the logit of sparsity is taken as straight in log(decay). Beyond all of them every run is
    like the last one.

    Args:
        experiment: Without ``auto``.
        problem: Its network and data.
        recorded: Decay of the thresholds -> run, of this experiment and its threshold init.
    """

    def __init__(
        self, experiment: Experiment, problem: Problem, recorded: Mapping[float, Trained]
    ) -> None:
        self._experiment, self._problem = experiment, problem
        self._decays = np.log(np.array(sorted(recorded)))
        runs = [recorded[decay] for decay in sorted(recorded)]
        self._levels = np.array([[logit(e.sparsity) for e in run.epochs] for run in runs])
        self._kept = np.array([[e.macs / problem.dense_macs for e in run.epochs] for run in runs])

    def train(self, settings: RunSettings) -> Trained:
        """Return the whole run with ``settings``."""
        clock = ThresholdClock.of(self._experiment, self._problem.steps_per_epoch, settings.onset)
        epochs = list[Epoch]()
        for _ in range(settings.last_epoch or self._experiment.training.epochs):
            decay = self._decay(settings, clock, epochs)
            epochs.append(self._epoch(clock, [e.threshold_decay for e in epochs] + [decay]))
        return Trained(epochs=tuple(epochs))

    def _decay(
        self, settings: RunSettings, clock: ThresholdClock, epochs: Sequence[Epoch]
    ) -> float:
        if settings.is_dense or len(epochs) < settings.onset:
            return 0.0
        if settings.lead is None or not epochs:
            return settings.first_decay
        law = Law.of(self._experiment)
        leader = leader_of(law, settings.lead, clock, settings.first_decay)
        return leader.next_decay([e.threshold_decay for e in epochs], epochs[-1].sparsity)

    def _epoch(self, clock: ThresholdClock, decays: Sequence[float]) -> Epoch:
        index = len(decays) - 1
        decayed = clock.exposure(decays, 0.0)
        if decayed <= 0:
            macs = self._problem.dense_macs
            return Epoch(sparsity=0.0, macs=macs, accuracy=0.0, threshold_decay=decays[-1])
        alike = math.log(decayed / clock.epochs[index])
        level = float(np.interp(alike, self._decays, self._levels[:, index]))
        kept = float(np.interp(alike, self._decays, self._kept[:, index]))
        return Epoch(
            sparsity=expit(level),
            macs=round(kept * self._problem.dense_macs),
            accuracy=0.0,
            threshold_decay=decays[-1],
        )

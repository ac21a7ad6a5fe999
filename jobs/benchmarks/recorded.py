"""Runs as values: trained once and remembered, or read between recorded ones."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

import strsweep
from strsweep.config import Experiment, Problem, RunSettings
from strsweep.search.window import Window
from strsweep.training.checkpoint import State, copied
from strsweep.training.landing import land_run
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
                accuracy=metrics.accuracy,
                threshold_decay=metrics.threshold_decay,
            )
            for metrics in run.history
        )
        if settings.is_dense or self._experiment.sparsity.mode != "str":
            return Trained(epochs=epochs)
        return Trained(epochs=epochs, landed=tuple(self._landed(settings, run)))

    def _landed(self, settings: RunSettings, run: TrainingRun) -> Iterator[Landed]:
        last, state = run.history[-1], run.state()
        for target in self._experiment.search.targets:
            pruned = target.pruned(self._problem.dense_macs)
            ended = (
                last.sparsity if target.quantity == "sparsity" else 1 - last.macs / last.dense_macs
            )
            if ended not in Window.around(pruned, None):
                continue
            after = land_run(self._experiment, settings, state, target, _CPU).after
            yield Landed(
                target=pruned, sparsity=after.sparsity, accuracy=after.accuracy, macs=after.macs
            )

    def _remember(self, key: str, trained: Trained) -> None:
        line = {"recipe": self._recipe, "settings": key, **asdict(trained)}
        self._memo.parent.mkdir(parents=True, exist_ok=True)
        with self._memo.open("a") as file:  # one write: lines of processes do not mix
            file.write(json.dumps(line, separators=(",", ":")) + "\n")


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
    settings = (experiment.recipe_id, experiment.search.decay, targets)
    return hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]

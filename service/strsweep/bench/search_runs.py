"""Runs as values: trained once and remembered, or interpolated between recorded ones."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import strsweep
from strsweep.config import Experiment, RunSettings

_TRAINING_CODE = ("data", "models", "sparsity", "training")
"""Parts of the package that decide how a run ends."""

Corrections = tuple[tuple[int, float], ...]
"""Epochs after which another weight decay followed, and these."""
Key = tuple[float, float | None, Corrections]
"""Weight decay, what the run is told, and how it was corrected."""


@dataclass(frozen=True, kw_only=True)
class Landed:
    """A finished run after all thresholds were shifted to a target."""

    target: float
    sparsity: float
    accuracy: float


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """A run from its first epoch to its last."""

    weight_decay: float
    told: float | None = None
    """Sparsity that a steered run was told; None for STR."""
    corrections: Corrections = ()
    sparsity: tuple[float, ...]
    """After every epoch; so are the next two."""
    macs: tuple[int, ...]
    accuracy: tuple[float, ...]
    landed: tuple[Landed, ...] = ()
    """On every target that is near enough; empty if interpolated."""

    @property
    def key(self) -> Key:
        """What sets it apart from other runs of its problem and seed."""
        return self.weight_decay, self.told, self.corrections

    @property
    def epochs(self) -> int:
        """Epochs of the whole run."""
        return len(self.sparsity)

    @property
    def final(self) -> float:
        """Sparsity after the last epoch."""
        return self.sparsity[-1]

    def landed_on(self, target: float) -> Landed | None:
        """Return the run landed on ``target``; None if that was not tried."""
        return next((landed for landed in self.landed if landed.target == target), None)

    @classmethod
    def of(cls, line: dict[str, Any]) -> RecordedRun:
        """Read what ``asdict`` and JSON made of a run."""
        fields = {name: tuple(line[name]) for name in ("sparsity", "macs", "accuracy")}
        landed = tuple(Landed(**landed) for landed in line["landed"])
        return cls(
            weight_decay=line["weight_decay"],
            told=line["told"],
            corrections=tuple((epoch, decay) for epoch, decay in line.get("corrections", ())),
            landed=landed,
            **fields,
        )


def key_of(settings: RunSettings) -> Key:
    """Return what sets a run with ``settings`` apart from others of its problem and seed."""
    corrections = tuple((each.after_epoch, each.weight_decay) for each in settings.corrections)
    return settings.weight_decay, settings.sparsity, corrections


class Runs(ABC):
    """Knows how the runs of one problem and seed go."""

    def __init__(self) -> None:
        self._used: dict[Key, RecordedRun] = {}

    def at(self, settings: RunSettings) -> RecordedRun:
        """Return the whole run with ``settings``.

        Raises:
            LookupError: It is not recorded, and not to be had from others.
        """
        key = key_of(settings)
        if key not in self._used:
            self._used[key] = self._find(settings)
        return self._used[key]

    @property
    def used(self) -> Sequence[RecordedRun]:
        """The distinct runs that were asked for so far."""
        return list(self._used.values())

    @abstractmethod
    def _find(self, settings: RunSettings) -> RecordedRun: ...


class TrainedRuns(Runs):
    """Trains what is asked for, and nothing twice.

    Args:
        experiment: An STR sweep with its seed; a run that is told its sparsity is steered.
        memo: A file of JSON lines that processes of several seeds may share.
        train: Trains one run to its last epoch.
    """

    def __init__(
        self,
        experiment: Experiment,
        memo: Path,
        train: Callable[[Experiment, RunSettings], RecordedRun],
    ) -> None:
        super().__init__()
        self._experiment, self._memo, self._train = experiment, memo, train
        first = experiment.search.threshold_init
        self._recipe = f"{experiment.recipe_id}-{first}-{code_id()}"
        lines = [line for line in json_lines(memo) if line["recipe"] == self._recipe]
        self._known = {run.key: run for run in map(RecordedRun.of, lines)}

    def _find(self, settings: RunSettings) -> RecordedRun:
        known = self._known.get(key_of(settings))
        if known is not None:
            return known
        run = self._train(self._experiment, settings)
        self._remember(run)
        return run

    def _remember(self, run: RecordedRun) -> None:
        line = {
            "problem": self._experiment.name,
            "seed": self._experiment.training.seed,
            "recipe": self._recipe,
            **asdict(run),
        }
        self._memo.parent.mkdir(parents=True, exist_ok=True)
        with self._memo.open("a") as file:  # one short write: lines of processes do not mix
            file.write(json.dumps(line) + "\n")


@cache
def code_id() -> str:
    """Fingerprint of the code that trains: runs of other code are not comparable."""
    root = Path(strsweep.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(path for part in _TRAINING_CODE for path in (root / part).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield what stands on the lines of a file; nothing if it is not there."""
    if path.exists():
        for line in path.read_text().splitlines():
            yield json.loads(line)

"""Runs as values: trained once and remembered, or interpolated between recorded ones."""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import strsweep
from strsweep.config import Experiment, RunSettings
from strsweep.sweep.curve import expit, logit

_TRAINING_CODE = ("data", "models", "sparsity", "training")
"""Parts of the package that decide how a run ends."""

Key = tuple[float, float | None]
"""Weight decay, and what the run is told."""


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
    sparsity: tuple[float, ...]
    """After every epoch; so are the next two."""
    macs: tuple[int, ...]
    accuracy: tuple[float, ...]
    landed: tuple[Landed, ...] = ()
    """On every target that is near enough; empty if interpolated."""

    @property
    def key(self) -> Key:
        """What sets it apart from other runs of its problem and seed."""
        return self.weight_decay, self.told

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
        return cls(weight_decay=line["weight_decay"], told=line["told"], landed=landed, **fields)


class Runs(ABC):
    """Knows how the runs of one problem and seed go."""

    def __init__(self) -> None:
        self._used: dict[Key, RecordedRun] = {}

    def at(self, settings: RunSettings) -> RecordedRun:
        """Return the whole run with ``settings``.

        Raises:
            LookupError: It is not recorded, and not to be had from others.
        """
        key = settings.weight_decay, settings.sparsity
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
        known = self._known.get((settings.weight_decay, settings.sparsity))
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


class ReplayedRuns(Runs):
    """Interpolates recorded runs: the logit of sparsity is taken as straight in log(weight decay).

    Beyond the recorded weight decays all runs are like the last one.

    Args:
        recorded: Of one problem and seed; at least one is not steered.
    """

    def __init__(self, recorded: Sequence[RecordedRun]) -> None:
        super().__init__()
        searched = [run for run in recorded if run.told is None]
        self._searched = sorted(searched, key=lambda run: run.weight_decay)
        self._told = {run.told: run for run in recorded if run.told is not None}

    def _find(self, settings: RunSettings) -> RecordedRun:
        if settings.sparsity is not None:
            return self._told[settings.sparsity]
        wanted, runs = settings.weight_decay, self._searched
        index = bisect_left(runs, wanted, key=lambda run: run.weight_decay)
        right = runs[min(index, len(runs) - 1)]
        left = runs[max(index - 1, 0)]
        if right.weight_decay <= wanted or left is right:
            return right
        whole = math.log(right.weight_decay / left.weight_decay)
        return _blend(left, right, math.log(wanted / left.weight_decay) / whole)


def _blend(left: RecordedRun, right: RecordedRun, share: float) -> RecordedRun:
    def mix(low: float, high: float) -> float:
        return low + share * (high - low)

    levels = zip(map(logit, left.sparsity), map(logit, right.sparsity), strict=True)
    return RecordedRun(
        weight_decay=math.exp(mix(math.log(left.weight_decay), math.log(right.weight_decay))),
        sparsity=tuple(expit(mix(low, high)) for low, high in levels),
        macs=tuple(round(mix(*pair)) for pair in zip(left.macs, right.macs, strict=True)),
        accuracy=tuple(mix(*pair) for pair in zip(left.accuracy, right.accuracy, strict=True)),
    )


def read_recorded(path: Path) -> dict[tuple[str, int], list[RecordedRun]]:
    """Return the runs of a file by problem and seed."""
    found: dict[tuple[str, int], list[RecordedRun]] = {}
    for line in json_lines(path):
        found.setdefault((line["problem"], line["seed"]), []).append(RecordedRun.of(line))
    return found


def recorded_lines(problem: str, seed: int, runs: Iterable[RecordedRun]) -> Iterator[str]:
    """Yield the lines of a file for ``read_recorded``, rounded to what matters."""
    for run in runs:
        line = {"problem": problem, "seed": seed, **asdict(run)}
        line["sparsity"] = [round(value, 6) for value in run.sparsity]
        line["accuracy"] = [round(value, 4) for value in run.accuracy]
        yield json.dumps(line, separators=(",", ":"))


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

"""Recorded runs, and those in between: a comparison without training."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import accumulate, pairwise
from pathlib import Path

from strsweep.bench.search_runs import RecordedRun, Runs, json_lines, key_of
from strsweep.config import RunSettings
from strsweep.sweep.curve import expit, logit


class ReplayedRuns(Runs):
    """Interpolates recorded runs: the logit of sparsity is taken as straight in log(weight decay).

    Beyond the recorded weight decays all runs are like the last one. After every epoch a corrected
    run is where a run is whose one weight decay gives the same drive by then.

    Args:
        recorded: Of one problem and seed; at least one is not steered.
        clock: See ``decay_clock``.
    """

    def __init__(self, recorded: Sequence[RecordedRun], clock: Sequence[float]) -> None:
        super().__init__()
        self._clock = clock
        searched = [run for run in recorded if run.told is None]
        self._searched = sorted(searched, key=lambda run: run.weight_decay)
        self._told = {run.told: run for run in recorded if run.told is not None}

    def _find(self, settings: RunSettings) -> RecordedRun:
        if settings.sparsity is not None:
            return self._told[settings.sparsity]
        if not settings.corrections:
            return self._between(settings.weight_decay)
        decayed = accumulate(
            settings.weight_decay_in(epoch) * (after - before)
            for epoch, (before, after) in enumerate(pairwise((0.0, *self._clock)), start=1)
        )
        alike = [self._between(sum_ / now) for sum_, now in zip(decayed, self._clock, strict=True)]
        return RecordedRun(
            weight_decay=settings.weight_decay,
            corrections=key_of(settings)[-1],
            sparsity=tuple(run.sparsity[epoch] for epoch, run in enumerate(alike)),
            macs=tuple(run.macs[epoch] for epoch, run in enumerate(alike)),
            accuracy=tuple(run.accuracy[epoch] for epoch, run in enumerate(alike)),
        )

    def _between(self, wanted: float) -> RecordedRun:
        runs = self._searched
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

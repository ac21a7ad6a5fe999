"""STR to given sparsities, in one process: searched along the weight decay, one run at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from strsweep.config import Experiment, RunSettings
from strsweep.errors import EveryRunFailedError
from strsweep.training.run import TrainingRun

_HIT, _NEAR = 0.1, 0.5
"""Of the wanted density: what counts as reached, and beyond what a run is no result."""
_INSIDE = 0.1
"""Share of a gap that a run keeps away from its ends."""


@dataclass(frozen=True, kw_only=True)
class Searched:
    """The run that a search delivers for one target."""

    target: float
    run: TrainingRun
    epochs_spent: float
    """Of the whole search, shared equally by its targets."""


def search_each(
    experiment: Experiment,
    targets: Sequence[float],
    train: Callable[[Experiment, RunSettings], TrainingRun],
) -> Iterator[Searched]:
    """Search all ``targets`` together, and yield for each the run that is nearest.

    Args:
        experiment: An STR sweep with a range of weight decays and one threshold init.
        targets: Sparsities.
        train: Trains one network.

    Raises:
        EveryRunFailedError: No run is near a target.
    """
    search, found = experiment.search, dict[float, TrainingRun]()
    assert isinstance(search.weight_decay, tuple)
    assert isinstance(search.threshold_init, int | float)
    positions: list[float] = [math.log(decay) for decay in search.weight_decay]
    while positions and len(found) < search.max_runs:
        position = positions.pop(0)
        settings = RunSettings(
            threshold_init=search.threshold_init, weight_decay=math.exp(position)
        )
        found[position] = train(experiment, settings)
        positions = positions or _next(found, targets)
    epochs_spent = len(found) * experiment.training.epochs / len(targets)
    for target in targets:
        run = min(found.values(), key=lambda run: _miss(run, target))
        if _miss(run, target) > _NEAR:
            nearest = run.history[-1].sparsity
            raise EveryRunFailedError(
                f"STR does not reach {target}: its nearest run has {nearest:.2%}"
            )
        yield Searched(target=target, run=run, epochs_spent=epochs_spent)


def _next(found: dict[float, TrainingRun], targets: Sequence[float]) -> list[float]:
    """Return where to aim at the first target that is not reached; nothing if all are."""
    for target in targets:
        if all(_miss(run, target) > _HIT for run in found.values()):
            for (low, less), (high, more) in pairwise(sorted(found.items(), key=lambda i: i[0])):
                if less.history[-1].sparsity < target < more.history[-1].sparsity:
                    share = (_logit(target) - _reached(less)) / (_reached(more) - _reached(less))
                    return [low + min(max(share, _INSIDE), 1 - _INSIDE) * (high - low)]
    return []


def _miss(run: TrainingRun, target: float) -> float:
    return abs(run.history[-1].sparsity - target) / (1 - target)


def _reached(run: TrainingRun) -> float:
    return _logit(run.history[-1].sparsity)


def _logit(sparsity: float) -> float:
    inside = min(max(sparsity, 1e-4), 1 - 1e-4)
    return math.log(inside / (1 - inside))

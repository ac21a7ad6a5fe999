"""STR to given sparsities, in one process: searched as a sweep searches, and landed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from strsweep.bench.search_ours import OneByOne
from strsweep.bench.search_runs import Key, RecordedRun, Runs, key_of
from strsweep.bench.search_training import recorded
from strsweep.config import Experiment, RunSettings, Target
from strsweep.data import load_images
from strsweep.sparsity import SparsityReport
from strsweep.training.landing import land_run
from strsweep.training.problem import measure_problem
from strsweep.training.run import TrainingRun

_CPU = torch.device("cpu")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What a search delivers for one target."""

    target: float
    accuracy: float
    """Landed; so is the report."""
    report: SparsityReport
    epochs_spent: float
    """Of the whole search, shared equally by its targets."""


class KeptRuns(Runs):
    """Trains runs to their end, and keeps them: landing needs their state.

    Args:
        experiment: Of all runs.
        train: Trains one.
    """

    def __init__(
        self, experiment: Experiment, train: Callable[[Experiment, RunSettings], TrainingRun]
    ) -> None:
        super().__init__()
        self._experiment, self._train = experiment, train
        self._kept: dict[Key, tuple[RunSettings, TrainingRun]] = {}

    def _find(self, settings: RunSettings) -> RecordedRun:
        run = self._train(self._experiment, settings)
        self._kept[key_of(settings)] = settings, run
        return recorded(settings, run.history)

    def landed(self, run: RecordedRun, target: float) -> tuple[float, SparsityReport]:
        """Return accuracy and layers of ``run`` after landing."""
        settings, kept = self._kept[run.key]
        wanted = Target(sparsity=target)
        end = land_run(self._experiment, settings, kept.state(), wanted, _CPU)
        return end.after.accuracy, end.report


def search_each(
    experiment: Experiment,
    targets: Sequence[float],
    train: Callable[[Experiment, RunSettings], TrainingRun],
) -> Iterator[Searched]:
    """Search all ``targets`` together, and yield for each that is hit its run, landed.

    A target that is not hit is logged with the nearest run.

    Args:
        experiment: An STR sweep; its own targets do not count.
        targets: Sparsities.
        train: Trains one network.
    """
    wanted = tuple(Target(sparsity=target) for target in targets)
    search = experiment.search.model_copy(update={"targets": wanted})
    experiment = experiment.model_copy(update={"search": search})
    runs = KeptRuns(experiment, train)
    sweep = OneByOne(experiment, measure_problem(experiment, load_images(experiment.data)), runs)
    sweep.search()
    for delivery in sweep.deliveries():
        if not delivery.is_hit:
            _log.warning(
                "STR does not hit %s: its nearest run has %.2f%%",
                delivery.target,
                100 * delivery.run.final,
            )
            continue
        accuracy, report = runs.landed(delivery.run, delivery.target)
        yield Searched(
            target=delivery.target,
            accuracy=accuracy,
            report=report,
            epochs_spent=sweep.epochs / len(targets),
        )

"""Where the runs of a comparison come from: trained here, or a file of recorded ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch

from strsweep.bench.search_comparison import Comparison, compare_searches
from strsweep.bench.search_problems import PROBLEMS, STEERED_WEIGHT_DECAY, TARGETS, TOLERANCE
from strsweep.bench.search_replay import ReplayedRuns, read_recorded, recorded_lines
from strsweep.bench.search_runs import TrainedRuns
from strsweep.bench.search_training import Trainer
from strsweep.config import Experiment, RunSettings
from strsweep.errors import SettingError
from strsweep.training.schedule import decay_clock


@dataclass(frozen=True, kw_only=True)
class Case:
    """One problem with one seed."""

    problem: str
    seed: int
    with_peers: bool
    config: Path
    """The file of digits."""
    memo: Path
    """Where trained runs are remembered."""
    tolerance: float = TOLERANCE
    """Of our search; peers always look for ``TOLERANCE``."""


def cases_of(
    problems: Sequence[str],
    seeds: int,
    peer_seeds: int,
    *,
    config: Path,
    memo: Path,
    tolerance: float = TOLERANCE,
) -> list[Case]:
    """Return all cases, those that take longest first.

    Raises:
        SettingError: There is no problem of such a name.
    """
    if unknown := [name for name in problems if name not in PROBLEMS]:
        raise SettingError("--problems", unknown[0], f"There are: {', '.join(PROBLEMS)}.")
    cases = [
        Case(
            problem=problem,
            seed=seed,
            with_peers=seed < peer_seeds,
            config=config,
            memo=memo,
            tolerance=tolerance,
        )
        for problem, seed in product(problems, range(seeds))
    ]
    order = list(PROBLEMS)
    return sorted(cases, key=lambda case: (not case.with_peers, -order.index(case.problem)))


def compare_trained(case: Case) -> Comparison:
    """Compare on runs that are trained as they are asked for."""
    experiment, runs = trained_runs(case)
    return compare_searches(experiment, runs, with_peers=case.with_peers)


def compare_recorded(recorded: Path, config: Path) -> Iterator[Comparison]:
    """Compare on every problem and seed of a file, in seconds.

    Args:
        recorded: Written from ``record``.
        config: The file of digits.
    """
    for (problem, seed), runs in read_recorded(recorded).items():
        experiment = PROBLEMS[problem].experiment(config, seed)
        replay = ReplayedRuns(runs, decay_clock(experiment.training, steps_per_epoch=1))
        yield compare_searches(experiment, replay, with_peers=True)


def record(case: Case, count: int) -> list[str]:
    """Train ``count`` log-spaced weight decays and the steered runs; return the lines of a file."""
    experiment, runs = trained_runs(case)
    first, limits = experiment.search.threshold_init, experiment.search.weight_decay
    assert isinstance(first, float | int)
    assert isinstance(limits, tuple)
    wanted = [
        RunSettings(threshold_init=first, weight_decay=float(f"{weight_decay:.6g}"))
        for weight_decay in np.geomspace(*limits, count)
    ]
    wanted += [RunSettings(weight_decay=STEERED_WEIGHT_DECAY, sparsity=t) for t in TARGETS]
    return list(recorded_lines(case.problem, case.seed, map(runs.at, wanted)))


def trained_runs(case: Case) -> tuple[Experiment, TrainedRuns]:
    """Return the sweep of ``case``, and its runs, which are trained as they are asked for."""
    torch.set_num_threads(1)
    experiment = PROBLEMS[case.problem].experiment(case.config, case.seed, case.tolerance)
    return experiment, TrainedRuns(experiment, case.memo, Trainer())

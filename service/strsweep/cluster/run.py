"""Run a sweep, or a single run, on the cluster; start again where an earlier job ended."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, cast

import ray
from ray import tune

from strsweep import __version__
from strsweep.auto import fixed_settings
from strsweep.cluster.connection import (
    check_data_on_nodes,
    free_slots,
    sweep_desk,
    wait_for_slots,
)
from strsweep.cluster.landing import Landings
from strsweep.cluster.lanes import Lanes, LaneScheduler, notes_folder
from strsweep.cluster.searcher import EarlyStop, TargetSearcher
from strsweep.cluster.status import StatusLines
from strsweep.cluster.trial import LaneTrial
from strsweep.config import Experiment, Problem
from strsweep.errors import EveryRunFailedError, StorageError
from strsweep.journal import Journal, RunFailed, RunProposed, SweepStarted, replay
from strsweep.progress import doing, say
from strsweep.storage import storage_of
from strsweep.training.desk import Told, Train
from strsweep.training.problem import check_identity

_TRIAL = {"memory": 1.0}
"""Resources of a trial, in bytes. It only waits: a CPU of its own would starve the workers of a
small cluster, and Tune refuses a trial without any resource."""
_MAX_TRIAL_FAILURES = 2
_OLDEST_UNDER_WAY = timedelta(hours=1)
"""What was begun before then and is not written yet never will be."""


@contextmanager
def held_sweep(experiment: Experiment) -> Generator[Lanes]:
    """Hold the sweep of ``experiment`` on the cluster, for this job alone.

    Yields:
        Its lanes; the first one opens at once where nothing was trained yet.

    Raises:
        SettingError: The cluster cannot hold even one run, or a node lacks the data.
        SweepRunningError: Another job runs the same sweep.
    """
    wait_for_slots(experiment)
    check_data_on_nodes(experiment)
    with sweep_desk(experiment.sweep_id) as desk, Lanes(experiment, desk) as lanes:
        if not Journal(storage_of(experiment)).read():
            lanes.open()
        yield lanes


def run_sweep(experiment: Experiment, problem: Problem, lanes: Lanes) -> None:
    """Train until every target is hit or the budget is spent; land each target when it is hit.

    Args:
        experiment: Without ``auto``.
        problem: Its network and data.
        lanes: Of the sweep, which is held.

    Raises:
        EveryRunFailedError: Run after run failed, and no target is hit.
        StorageError: It refuses, is full, or stayed away too long; what is open stays so.
    """
    journal, slots = _start(experiment, problem), free_slots(experiment)
    _announce(experiment, slots)
    searcher = TargetSearcher(experiment, journal, partial(free_slots, experiment))
    landings = Landings(experiment, lanes, journal, searcher.outcomes)
    if not searcher.is_over():
        status = StatusLines(searcher, slots)
        landings.begin()  # what an earlier job left
        _tuner(experiment, LaneScheduler(searcher, lanes), lanes, [status, landings]).fit()
    if searcher.refused is not None:
        raise searcher.refused
    with doing(f"search ended: {searcher.stopped}"):
        landings.finish()
    if searcher.failure is not None and not replay(journal.read()).landed:
        raise searcher.failure


def run_single(experiment: Experiment, problem: Problem, lanes: Lanes) -> None:
    """Train one run with the fixed settings of ``experiment``.

    Raises:
        EveryRunFailedError: The run failed.
        StorageError: It refuses, is full, or stayed away too long; the run stays open.
    """
    assert experiment.is_single
    journal = _start(experiment, problem)
    record, settings = replay(journal.read()), fixed_settings(experiment, problem)
    if record.finished_runs:
        return
    run_id = next((run.run_id for run in record.runs.values() if run.is_open), None)
    if run_id is None:
        run_id, reason = record.next_run_id, "a single run"
        journal.append(RunProposed(run_id=run_id, settings=settings, target=None, reason=reason))
    with doing(f"{run_id} of {experiment.sweep_id} trains"):
        _train(Train(run_id, settings), lanes, journal)
    run = replay(journal.read()).runs[run_id]
    if run.finished is None:
        reason = "it left no result; see Ray's logs" if run.failed is None else run.failed.reason
        raise EveryRunFailedError(reason)


def _train(work: Train, lanes: Lanes, journal: Journal) -> None:
    """Follow a run to its end."""
    lanes.do(work)
    told = Told(0)
    while not told.is_over:
        told = cast("Told", ray.get(lanes.follow(work, told.number)))
    if told.refused is not None:
        raise StorageError(told.refused)
    if told.failure is not None:
        journal.append(RunFailed(run_id=work.run_id, reason=told.failure))


def _start(experiment: Experiment, problem: Problem) -> Journal:
    storage = storage_of(experiment)
    storage.remove_partial_writes(_OLDEST_UNDER_WAY)
    journal = Journal(storage)
    before = replay(journal.read()).problem
    if before is not None:
        check_identity(experiment, before, problem.identity)
    journal.append(
        SweepStarted(
            experiment=experiment.model_dump(mode="json"), version=__version__, problem=problem
        )
    )
    return journal


def _tuner(
    experiment: Experiment, scheduler: LaneScheduler, lanes: Lanes, calls: list[tune.Callback]
) -> tune.Tuner:
    # The old output engine is the one that can be silenced; our own lines take its place. Tune's
    # experiment state is not used either, and saving it can race with the end of a short sweep.
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)
    os.environ.setdefault("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    trainable: Any = tune.with_parameters(LaneTrial, desk=lanes.desk)
    return tune.Tuner(
        tune.with_resources(trainable, _TRIAL),
        tune_config=tune_config(scheduler),
        run_config=tune.RunConfig(
            # Tune's own records are scaffolding of one job that nobody reads again.
            name=f"{experiment.sweep_id}-{time.strftime('%Y%m%d-%H%M%S')}",
            storage_path=notes_folder(),
            failure_config=tune.FailureConfig(max_failures=_MAX_TRIAL_FAILURES),
            callbacks=calls,
            verbose=0,
        ),
    )


def tune_config(scheduler: EarlyStop) -> tune.TuneConfig:
    """Return how Tune is to search: as the searcher says, which also limits the runs at a time."""
    return tune.TuneConfig(
        search_alg=scheduler.searcher,
        scheduler=scheduler,
        num_samples=-1,
        reuse_actors=True,  # a process that follows runs can follow the next one
    )


def _announce(experiment: Experiment, at_once: int) -> None:
    search = experiment.search
    targets = ", ".join(str(target) for target in search.targets)
    say(
        f"sweep {experiment.sweep_id}: {targets}\n"
        f"method: {experiment.method}; {_describe_settings(experiment)}"
        f"at most {search.max_runs} runs, {at_once} at a time\n"
        f"journal, checkpoints and models: {storage_of(experiment).location}"
    )


def _describe_settings(experiment: Experiment) -> str:
    shown: list[str] = []
    for key in experiment.search.resolved:
        value = getattr(experiment.search, key)
        ends = value if isinstance(value, tuple) else (value,)
        shown.append(f"{key} {' to '.join(f'{end:g}' for end in ends)}")
    return f"{', '.join(shown)} (auto); " if shown else ""

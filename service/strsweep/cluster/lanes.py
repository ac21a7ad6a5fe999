"""Lanes: groups of worker processes that Ray Train keeps, and that do the work of a sweep."""

from __future__ import annotations

import logging
import math
import os
import secrets
import tempfile
import threading
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.callback import UserCallback

from strsweep.cluster.connection import free_slots, worker_size
from strsweep.cluster.searcher import EarlyStop, TargetSearcher
from strsweep.cluster.trial import work_of
from strsweep.config import Experiment
from strsweep.errors import StorageError
from strsweep.journal import Journal, RunInterrupted
from strsweep.storage import storage_of, store_at
from strsweep.training.desk import Train, Work
from strsweep.training.worker import serve

_MAX_CONTROLLER_FAILURES = 10
"""Ray's default is to try for ever, which turns a missing worker into a hang."""
_RAY_TRAIN = {
    # How soon the end of a worker is noticed, and the end of a lane.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    # Workers import torch first. Where that takes longer than Ray's minute, as on a busy machine or
    # a slow disk, every try would begin anew and fail again.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
    # A process for every lane, which tells workers that their node will go: ours do not ask it.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
"""Read by ``fit()`` from the environment of its process."""
_CLOSING_S, _HURRIED_S = 30.0, 5.0
"""Ray Train takes some seconds to end a group of workers; after an error they are not all waited
for. A lane that still asks Ray when this process leaves it would end the process."""
_log = logging.getLogger(__name__)


class Lanes:
    """The lanes of one sweep: as many as it has work for, and as the cluster holds.

    This process holds them open, one thread each; should it die, Ray ends their processes.

    Args:
        experiment: Of the sweep.
        desk: The actor that the work lies on.
    """

    def __init__(self, experiment: Experiment, desk: Any) -> None:
        self.desk = desk
        self._experiment = experiment
        self._threads: list[threading.Thread] = []
        self._is_closing = False

    def __enter__(self) -> Lanes:
        """Nothing is opened before there is work."""
        return self

    def __exit__(self, *error: object) -> None:
        """End all work, and wait for the lanes to end; after an error not for long."""
        self._is_closing = True
        ray.get(self.desk.close.remote())
        for thread in self._threads:
            thread.join(_HURRIED_S if error[0] is not None else _CLOSING_S)

    def __reduce__(self) -> Any:
        """Tune writes down whatever it is given; a copy holds no lane open."""
        return Lanes, (self._experiment, self.desk)

    def do(self, work: Work) -> None:
        """Lay work down, and open a lane for it if there is none."""
        slots = max(free_slots(self._experiment), 1)
        for _ in range(ray.get(self.desk.lay.remote(work, slots))):
            self.open()

    def open(self) -> None:
        """Open a lane; it closes by itself when there was no work for a while."""
        lane = f"lane-{len(self._threads) + 1}"
        ray.get(self.desk.open.remote(lane))
        self._threads.append(threading.Thread(target=self._hold, args=[lane], daemon=True))
        self._threads[-1].start()

    def follow(self, work: Work, read: int = 0) -> Any:
        """Return Ray's reference of what is told of ``work`` after number ``read``."""
        return self.desk.follow.remote(work, read)

    def leave(self, work: Work) -> None:
        """End work where it is: nobody follows it any more."""
        ray.get(self.desk.leave.remote(work))

    def _hold(self, lane: str) -> None:
        """Keep a lane open while it is needed, also if what Ray Train keeps of it dies."""
        is_needed = True
        while is_needed:
            try:
                self._trainer(lane).fit()
            except Exception as error:
                if not self._is_closing:
                    Losses(self._experiment, self.desk, lane).note("Ray Train", error)
            if self._is_closing:
                return  # this process may have left Ray, and a call would end it
            is_needed = ray.get(self.desk.shut.remote(lane))

    def _trainer(self, lane: str) -> TorchTrainer:
        """Return the Ray trainer of one lane; its ``fit()`` ends when the lane has no more work.

        Workers keep their checkpoints on the sweep's storage themselves: Ray Train ends a run when
        its own storage is away for a few seconds, so it gets a folder on the node for its notes.
        """
        for name, value in _RAY_TRAIN.items():
            os.environ.setdefault(name, value)
        workers = self._experiment.workers
        size = worker_size(self._experiment)
        count = workers.count if workers.least == workers.count else (workers.least, workers.count)
        return TorchTrainer(
            serve,
            train_loop_config={
                "desk": self.desk,
                "lane": lane,
                "location": storage_of(self._experiment).location,
                "experiment": self._experiment.model_dump(mode="json"),
            },
            torch_config=TorchConfig(timeout_s=math.ceil(60 * workers.timeout_minutes)),
            scaling_config=ScalingConfig(
                num_workers=count, use_gpu=workers.gpus > 0, resources_per_worker=size
            ),
            run_config=RunConfig(
                name=f"{self._experiment.sweep_id}-{lane}-{secrets.token_hex(4)}",
                storage_path=notes_folder(),
                failure_config=FailureConfig(
                    max_failures=-1,  # the desk counts those of every piece of work
                    controller_failure_limit=_MAX_CONTROLLER_FAILURES,
                ),
                callbacks=[Losses(self._experiment, self.desk, lane)],
            ),
        )


class Losses(UserCallback):
    """Says at the desk, and in the journal, that the processes of a lane ended with an error.

    Ray calls it in the process that watches over the workers.

    Args:
        experiment: Of the sweep.
        desk: Of the sweep.
        lane: Name of the lane.
    """

    def __init__(self, experiment: Experiment, desk: Any, lane: str) -> None:
        self._config, self._location = experiment.storage, storage_of(experiment).location
        self._desk, self._lane = desk, lane

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Note the error of the first worker that has one.

        Args:
            run_context: Of Ray; not used.
            worker_exceptions: Rank -> its error.
        """
        rank, error = min(worker_exceptions.items())
        self.note(f"worker {rank}", error)

    def note(self, process: str, error: Exception) -> None:
        """Note that ``process`` ended with ``error``."""
        # Ray puts a traceback before what it is about.
        reason = f"{process}: {(str(error).strip() or type(error).__name__).splitlines()[-1]}"
        try:
            work: Work | None = ray.get(self._desk.lost.remote(self._lane, reason))
            if isinstance(work, Train):
                event = RunInterrupted(run_id=work.run_id, reason=reason)
                storage = store_at(self._location, self._config)
                Journal(storage, writer=f"{work.run_id}-interruptions").append(event)
        except (RayError, StorageError):  # what interrupts a run must not end it
            _log.exception("%s was interrupted by %s, which cannot be noted", self._lane, reason)


def notes_folder() -> str:
    """Return a folder of this node for what Ray writes down and nobody reads again."""
    return str(Path(tempfile.gettempdir()) / f"strsweep-ray-{os.getuid()}")


class LaneScheduler(EarlyStop):
    """Gives the run of each new trial to the lanes, and takes it from them when it is stopped."""

    def __init__(self, searcher: TargetSearcher, lanes: Lanes) -> None:
        super().__init__(searcher)
        self._lanes = lanes

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Let training begin: the process that follows it takes longer to start than a warm run."""
        super().on_trial_add(tune_controller, trial)
        self._lanes.do(work_of(trial.config))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Return whether ``trial`` goes on; a stopped one keeps its checkpoints."""
        choice = super().on_trial_result(tune_controller, trial, result)
        if choice == self.STOP:
            self._lanes.leave(work_of(trial.config))
        return choice

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Leave the run, unless Tune starts another process that follows it."""
        super().on_trial_error(tune_controller, trial)
        if not trial.should_recover():
            self._lanes.leave(work_of(trial.config))

"""The Ray Train worker of a lane: does what the desk gives, and stores what comes of it."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property, partial
from typing import Any

import ray
import ray.train
import torch
from ray.train.torch import get_device

from strsweep.config import Experiment
from strsweep.errors import ImagesUnreadableError, StorageError, StrsweepError
from strsweep.journal import Journal, ModelLanded, RunFailed
from strsweep.storage import store_at
from strsweep.training.attached import Assignment, loop_run
from strsweep.training.checkpoints import RunCheckpoints
from strsweep.training.controlled import ControlledRun, EpochMetrics
from strsweep.training.desk import Land, Ticket, Train
from strsweep.training.landing import land_one
from strsweep.training.loop import InputPipeline, of_first_worker
from strsweep.training.run import TrainingRun
from strsweep.training.writer import RunWriter


def serve(config: dict[str, Any]) -> None:
    """Do on one Ray Train worker what the desk gives to its lane, until it gives no more.

    All workers of the lane call this; the first one asks, and tells the others. Processes, their
    group and the images stay between pieces of work; all else is made anew, so that none depends
    on those before it.

    Args:
        config: ``desk`` (handle of the actor), ``lane`` (its name), the dumped ``experiment``, and
            the ``location`` of the sweep, which was computed once for all processes.
    """
    worker = _Worker(config)
    while (given := worker.ask()) is not False:
        if given is not True:
            worker.do(given)


class _Worker:
    def __init__(self, config: dict[str, Any]) -> None:
        self._desk, self._lane = config["desk"], config["lane"]
        self._experiment = Experiment.model_validate(config["experiment"])
        self._storage = store_at(config["location"], self._experiment.storage)
        context = ray.train.get_context()
        self._rank, self._world_size = context.get_world_rank() or 0, context.get_world_size() or 1
        self._idle_since = time.monotonic()

    def ask(self) -> Ticket | bool:
        """Return what is to be done; True to ask again, False to end."""
        idle_s = time.monotonic() - self._idle_since
        return self._first_asks(lambda: self._desk.take.remote(self._lane, idle_s))

    def do(self, ticket: Ticket) -> None:
        """Do a piece of work, and leave nothing of it behind but what it stored."""
        try:
            match ticket.work:
                case Train() as work:
                    self._train(work, ticket)
                case Land() as work:
                    self._land(work, ticket)
        except StorageError as error:
            self._refuse(ticket, error)
            raise
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._idle_since = time.monotonic()

    def _train(self, work: Train, ticket: Ticket) -> None:
        """Train a run to its end, or until it is not wanted any more.

        Errors that the same run would meet again, such as a loss of NaN, are written to the journal
        instead of raised: Ray would answer them with futile restarts.
        """
        journal = Journal(self._storage, writer=work.run_id)
        try:
            self._train_epochs(work, ticket, journal)
        except (ImagesUnreadableError, StorageError):
            raise  # the storage may come back: the run goes on from the last checkpoint
        except StrsweepError as error:
            if self._rank == 0:
                reason = f"{type(error).__name__}: {error}"
                journal.append(RunFailed(run_id=work.run_id, reason=reason))
        self._end(ticket)

    def _train_epochs(self, work: Train, ticket: Ticket, journal: Journal) -> None:
        checkpoints = self._checkpoints(work)
        writer = RunWriter(work.run_id, journal, checkpoints) if self._rank == 0 else None
        if writer is not None:
            writer.outbox.tell = partial(self._refuse, ticket)

        def note(run: ControlledRun, metrics: EpochMetrics) -> bool:
            if writer is not None:
                writer.epoch(run, metrics)
            told = metrics.row
            return not run.is_stored(metrics.epoch) or self._first_asks(
                lambda: self._desk.report.remote(ticket, told)
            )

        assignment = Assignment(
            experiment=self._experiment,
            settings=work.settings,
            images=self._images,
            begin=lambda run: run.resume(checkpoints),
            note=note,
        )
        with nullcontext() if writer is None else writer.outbox:
            run = self._trained(assignment)
            if run is not None and writer is not None:
                writer.finish(run)

    def _trained(self, given: Assignment) -> ControlledRun | None:
        """Train a run; returns None if it is not wanted to its end."""
        if self._experiment.training.loop is not None:
            attached = loop_run(given)
            return attached if attached.is_complete else None
        run = TrainingRun(
            self._experiment, given.settings, device=get_device(), images=given.images
        )
        given.begin(run)
        is_wanted = all(given.note(run, metrics) for metrics in run.epochs())
        return run if is_wanted else None

    def _land(self, work: Land, ticket: Ticket) -> None:
        try:
            landed = land_one(self._experiment, self._storage, work.run, work.target, self._images)
        except (ImagesUnreadableError, StorageError):
            raise
        except (StrsweepError, ValueError) as error:  # all workers have it
            self._end(ticket, failure=f"{type(error).__name__}: {error}")
        else:
            self._end(ticket, landed=landed)

    def _end(self, ticket: Ticket, **outcome: ModelLanded | str) -> None:
        if self._rank == 0:
            ray.get(self._desk.end.remote(ticket, **outcome))

    def _refuse(self, ticket: Ticket, error: BaseException) -> None:
        """Tell that the storage takes nothing: the job ends at once, further tries were in vain."""
        if isinstance(error, StorageError):
            ray.get(self._desk.end.remote(ticket, refused=f"{error} The same command continues."))

    @cached_property
    def _images(self) -> InputPipeline:
        return InputPipeline(self._experiment, self._rank, self._world_size)

    def _checkpoints(self, work: Train) -> RunCheckpoints:
        return RunCheckpoints(
            self._storage,
            work.run_id,
            self._experiment.storage.checkpoints_kept,
            shared_epoch=work.settings.shared_epoch,
            fork=work.settings.fork,
        )

    def _first_asks(self, asked: Callable[[], Any]) -> Any:
        """Return on all workers what the desk answers to the first one."""
        return of_first_worker(ray.get(asked()) if self._rank == 0 else None)

"""The checkpoints of one run: newest first, and only as many as are needed."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist

from strsweep.errors import CheckpointError
from strsweep.settings import Fork
from strsweep.storage import Store
from strsweep.training.checkpoint import State, load_checkpoint, save_checkpoint
from strsweep.training.run import TrainingRun


class RunCheckpoints:
    """Folders ``runs/<run id>/epoch_<number>`` of a sweep.

    Args:
        storage: Of the sweep.
        run_id: Of the run.
        kept: How many of the newest are kept.
        shared_epoch: Its state is kept for good: other runs begin there.
        fork: The state of another run to begin with; None: the run begins anew.
    """

    def __init__(
        self,
        storage: Store,
        run_id: str,
        kept: int,
        *,
        shared_epoch: int | None = None,
        fork: Fork | None = None,
    ) -> None:
        self._storage = storage
        self._folder = f"runs/{run_id}"
        self._kept = kept
        self._shared_epoch = shared_epoch
        self._fork = fork

    def folder(self, epoch: int) -> str:
        """Return the folder of the state after ``epoch``, relative to the sweep."""
        return f"{self._folder}/epoch_{epoch:05d}"

    def save(self, epoch: int, state: State) -> None:
        """Store the state after ``epoch``, and then remove those that are too old to be kept.

        Raises:
            StorageError: The storage refuses, is full, or stayed away too long.
        """
        save_checkpoint(self._storage, self.folder(epoch), state)
        for old in self._epochs()[: -self._kept]:
            if old != self._shared_epoch:
                self._storage.delete(self.folder(old))

    def newest(self) -> tuple[int, State] | None:
        """Return epoch and state to go on from; None for a run that has to begin.

        A damaged checkpoint is named, and the one before it is taken.

        Raises:
            CheckpointError: The state to fork from is missing or damaged.
            StorageError: The storage refuses, or stayed away too long.
        """
        for epoch in reversed(self._epochs()):
            if (state := self._undamaged(epoch)) is not None:
                return epoch, state
        if self._fork is None:
            return None
        return self._fork.epoch, load_checkpoint(self._storage, self._fork.folder)

    def load(self, epoch: int) -> State:
        """Return the state after ``epoch``, the run's own or the one it forks from.

        Raises:
            CheckpointError: It is missing or damaged.
            StorageError: The storage refuses, or stayed away too long.
        """
        fork = self._fork
        if fork is not None and epoch == fork.epoch and epoch not in self._epochs():
            return load_checkpoint(self._storage, fork.folder)
        return load_checkpoint(self._storage, self.folder(epoch))

    def _undamaged(self, epoch: int) -> State | None:
        try:
            return self.load(epoch)
        except CheckpointError as error:
            print(f"{error}; the one before it is tried", flush=True)
            return None

    def _epochs(self) -> list[int]:
        names = self._storage.sizes(self._folder)
        return sorted({int(name.split("/")[-2].removeprefix("epoch_")) for name in names})


def resume(run: TrainingRun, checkpoints: RunCheckpoints, rank: int) -> None:
    """Let ``run`` go on where its newest checkpoint was taken, on all workers alike.

    The first worker chooses it: another one may meanwhile see a newer one, which a worker that was
    thought dead has just stored.

    Raises:
        CheckpointError: It belongs to another model.
        StorageError: The storage refuses, or stayed away too long.
    """
    found = checkpoints.newest() if rank == 0 else None
    chosen: list[Any] = [None if found is None else found[0]]
    if dist.is_initialized():
        dist.broadcast_object_list(chosen)
    if chosen[0] is not None:
        run.load_state(checkpoints.load(chosen[0]) if found is None else found[1])

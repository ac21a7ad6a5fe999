"""The checkpoints of runs: whole or not at all, never unpickling but tensors, few of a run."""

from __future__ import annotations

import hashlib
import io
import re
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from strsweep.errors import CheckpointError
from strsweep.settings import Fork
from strsweep.storage import Store

STATE_FILE = "state.pt"
_FORMAT = 1
_DIGEST_BYTES = 32
"""The file starts with the SHA-256 of the rest: torch alone does not notice a flipped bit."""

_EPOCH = re.compile(rf"/epoch_(\d+)/{re.escape(STATE_FILE)}$")

State = dict[str, Any]


def save_checkpoint(storage: Store, folder: str, state: State) -> None:
    """Write ``state`` into ``folder`` of the sweep; a killed process leaves the old or the new one.

    Raises:
        StorageError: The storage refuses, is full, or was unavailable too long.
    """
    content = io.BytesIO()
    torch.save({"format": _FORMAT, **state}, content)
    digest = hashlib.sha256(content.getbuffer()).digest()
    storage.write(f"{folder}/{STATE_FILE}", digest + content.getvalue())


def load_checkpoint(storage: Store, folder: str) -> State:
    """Read the state from ``folder`` of the sweep; tensors arrive on the CPU.

    Raises:
        CheckpointError: The file is missing, damaged, or of a format this version does not know.
        StorageError: The storage refuses, or was unavailable too long.
    """
    name = f"{folder}/{STATE_FILE}"
    place = storage.uri(name)
    try:
        content = storage.read(name)
    except OSError as error:
        raise CheckpointError(f"the checkpoint {place} cannot be read: {error}") from error
    digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"the checkpoint {place} cannot be read: it is damaged")
    state: State = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    if state["format"] != _FORMAT:
        raise CheckpointError(
            f"the checkpoint {place} has format {state['format']}, this version reads {_FORMAT}"
        )
    return state


def copied(value: Any) -> Any:
    """Return ``value`` with all tensors in it copied to the CPU, so that training can go on."""
    return tree_map_only(Tensor, lambda tensor: tensor.detach().to("cpu", copy=True), value)


class RunCheckpoints:
    """Folders ``runs/<run id>/epoch_<number>`` of a sweep.

    Only the newest ``kept`` stay, and for good that of ``shared_epoch``, where other runs begin.
    ``fork`` is the state of another run to begin with. Every method may raise ``StorageError``: the
    storage refuses, is full, or was unavailable too long.
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
        """Store the state after ``epoch``, and then remove those that are too old to be kept."""
        save_checkpoint(self._storage, self.folder(epoch), state)
        # Later ones were damaged when this run began: they do not count as newer.
        for old in [known for known in self._epochs() if known <= epoch][: -self._kept]:
            if old != self._shared_epoch:
                self._storage.delete(self.folder(old))

    def newest(self) -> tuple[int, State] | None:
        """Return epoch and state to go on from; None for a run that has to begin.

        A damaged checkpoint is named, and the one before it is taken.

        Raises:
            CheckpointError: The state to fork from is missing or damaged.
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
        found = {int(match[1]) for match in map(_EPOCH.search, names) if match is not None}
        # People put copies and files of their own into any folder.
        return sorted(epoch for epoch in found if f"{self.folder(epoch)}/{STATE_FILE}" in names)

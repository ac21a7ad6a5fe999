"""Save and load the state of a run: whole or not at all, and never unpickling but tensors."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import torch

from strsweep.errors import CheckpointError
from strsweep.storage import Store

_FILE = "state.pt"
_FORMAT = 1
_DIGEST_BYTES = 32
"""The file starts with the SHA-256 of the rest: torch alone does not notice a flipped bit."""

State = dict[str, Any]


def save_checkpoint(storage: Store, folder: str, state: State) -> None:
    """Write ``state`` into ``folder`` of the sweep; a killed process leaves the old or the new one.

    Raises:
        StorageError: The storage refuses, is full, or stayed away too long.
    """
    content = io.BytesIO()
    torch.save({"format": _FORMAT, **state}, content)
    digest = hashlib.sha256(content.getbuffer()).digest()
    storage.write(f"{folder}/{_FILE}", digest + content.getvalue())


def load_checkpoint(storage: Store, folder: str) -> State:
    """Read the state from ``folder`` of the sweep; tensors arrive on the CPU.

    Raises:
        CheckpointError: The file is missing, damaged, or of a format this version does not know.
        StorageError: The storage refuses, or stayed away too long.
    """
    name = f"{folder}/{_FILE}"
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
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return type(value)(copied(inner) for inner in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return value

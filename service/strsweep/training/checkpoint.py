"""Save and load the state of a run: atomic, and never unpickling anything but tensors."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import torch

from strsweep.errors import CheckpointError

_FILE = "state.pt"
_FORMAT = 1
_DIGEST_BYTES = 32
"""The file starts with the SHA-256 of the rest: torch alone does not notice a flipped bit."""

State = dict[str, Any]


def save_checkpoint(folder: Path, state: State) -> None:
    """Write ``state`` into ``folder``; a killed process leaves the old file or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    torch.save({"format": _FORMAT, **state}, content)
    digest = hashlib.sha256(content.getbuffer()).digest()
    partial = folder / f"{_FILE}.partial"
    with partial.open("wb") as file:
        file.write(digest)
        file.write(content.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / _FILE)


def load_checkpoint(folder: Path) -> State:
    """Read the state from ``folder``; tensors arrive on the CPU.

    Raises:
        CheckpointError: The file is missing, damaged, or of a format this version does not know.
    """
    path = folder / _FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"the checkpoint {path} cannot be read: {error}") from error
    digest, body = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"the checkpoint {path} cannot be read: it is damaged")
    state: State = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    if state["format"] != _FORMAT:
        raise CheckpointError(
            f"the checkpoint {path} has format {state['format']}, this version reads {_FORMAT}"
        )
    return state

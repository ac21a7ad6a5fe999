"""Dense weights as safetensors: the plain state dict, zeros written out."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from strsweep.export.exported_file import (
    ExportedFile,
    LoadedExport,
    weight_zeros,
    write_and_check,
)


def export_dense(model: nn.Module, example: Tensor, path: Path) -> ExportedFile:
    """Write the state dict of ``model`` under its own names; arguments as ``write_and_check``.

    Raises:
        ExportError: The file cannot be written.
    """
    return write_and_check(
        model,
        example,
        path,
        write=lambda file: save_file(owned_state(model), file),
        load=lambda file: loaded_state(model, load_file(file)),
    )


def owned_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict as contiguous copies; safetensors refuses tensors that share memory."""
    return {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}


def loaded_state(model: nn.Module, state: dict[str, Tensor]) -> LoadedExport:
    """Return a copy of ``model`` that runs with ``state``."""
    copy = deepcopy(model)
    copy.load_state_dict(state)
    return LoadedExport(run=copy, zeros=weight_zeros(model, state))

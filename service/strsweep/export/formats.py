"""The formats by name, and how the plain ones are written."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from strsweep.errors import SettingError
from strsweep.export.compressed import load_compressed, save_compressed
from strsweep.export.exported_file import ExportFormat, Inputs, LoadedExport, weight_zeros
from strsweep.export.onnx_file import load_onnx, write_onnx


def _owned(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict as contiguous copies; safetensors refuses tensors that share memory."""
    return {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}


def _with_state(model: nn.Module, state: dict[str, Tensor]) -> LoadedExport:
    """Return a copy of ``model`` that runs with ``state``."""
    copy = deepcopy(model)
    copy.load_state_dict(state)
    return LoadedExport(copy, weight_zeros(model, state))


def _write_program(model: nn.Module, inputs: Inputs, path: Path) -> None:
    """Write a program (pt2) with a free batch; it runs with torch alone."""
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(model, inputs, dynamic_shapes=(batch,) * len(inputs))
    torch.export.save(program, path)


def _load_program(model: nn.Module, path: Path) -> LoadedExport:
    program = torch.export.load(path)
    return LoadedExport(program.module(), weight_zeros(model, program.state_dict))


FORMATS = {
    "dense": ExportFormat(
        file_name="model.safetensors",
        write=lambda model, _, path: save_file(_owned(model), path),
        load=lambda model, path: _with_state(model, load_file(path)),
    ),
    "program": ExportFormat(file_name="model.pt2", write=_write_program, load=_load_program),
    "onnx": ExportFormat(
        file_name="model.onnx",
        write=write_onnx,
        load=load_onnx,
        packages=("onnx", "onnxscript", "onnxruntime"),
    ),
    "compressed": ExportFormat(
        file_name="model.compressed.safetensors",
        write=lambda model, _, path: save_compressed(_owned(model), path),
        load=lambda model, path: _with_state(model, load_compressed(path)),
    ),
}


def check_formats(names: Sequence[str], setting: str) -> None:
    """Check that the formats exist and can be written here.

    Args:
        names: Of ``FORMATS``.
        setting: What an error calls the setting, e.g. ``--format``.

    Raises:
        SettingError: A format is unknown, or its packages are not installed.
    """
    for name in names:
        if name not in FORMATS:
            raise SettingError(setting, name, f"Use one of {sorted(FORMATS)}.")
        missing = [package for package in FORMATS[name].packages if find_spec(package) is None]
        if missing:
            remedy = f"Run pip install {' '.join(missing)}, or name the formats that you want."
            raise SettingError(setting, name, remedy)

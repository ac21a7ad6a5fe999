"""The formats by name, and the two that need no more than a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from strsweep.errors import SettingError
from strsweep.export.compressed import export_compressed
from strsweep.export.exported_file import (
    ExportedFile,
    Inputs,
    LoadedExport,
    loaded_state,
    owned_state,
    weight_zeros,
    write_and_check,
)
from strsweep.export.onnx_file import export_onnx


def export_dense(model: nn.Module, inputs: Inputs, path: Path) -> ExportedFile:
    """Write the state dict of ``model`` as safetensors; arguments as ``write_and_check``.

    Raises:
        ExportError: The file cannot be written.
    """
    return write_and_check(
        model,
        inputs,
        path,
        write=lambda file: save_file(owned_state(model), file),
        load=lambda file: loaded_state(model, load_file(file)),
    )


def export_program(model: nn.Module, inputs: Inputs, path: Path) -> ExportedFile:
    """Write a program (pt2) with a free batch; it runs with torch alone.

    Arguments as ``write_and_check``.

    Raises:
        ExportError: torch.export cannot follow the model, or the program computes something else.
    """

    def write(file: Path) -> None:
        batch = {0: torch.export.Dim("batch")}
        program = torch.export.export(model, inputs, dynamic_shapes=(batch,) * len(inputs))
        torch.export.save(program, file)

    def load(file: Path) -> LoadedExport:
        program = torch.export.load(file)
        return LoadedExport(run=program.module(), zeros=weight_zeros(model, program.state_dict))

    return write_and_check(model, inputs, path, write=write, load=load)


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """How one format is written."""

    export: Callable[[nn.Module, Inputs, Path], ExportedFile]
    file_name: str
    packages: tuple[str, ...] = ()
    """What must be installed beyond the dependencies of strsweep."""


FORMATS = {
    "dense": ExportFormat(export=export_dense, file_name="model.safetensors"),
    "program": ExportFormat(export=export_program, file_name="model.pt2"),
    "onnx": ExportFormat(
        export=export_onnx,
        file_name="model.onnx",
        packages=("onnx", "onnxscript", "onnxruntime"),
    ),
    "compressed": ExportFormat(export=export_compressed, file_name="model.compressed.safetensors"),
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
            raise SettingError(
                setting,
                name,
                f"Run pip install {' '.join(missing)}, or name the formats that you want.",
            )

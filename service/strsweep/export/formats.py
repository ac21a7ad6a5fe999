"""The formats by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor, nn

from strsweep.errors import SettingError
from strsweep.export.compressed import export_compressed
from strsweep.export.dense import export_dense
from strsweep.export.exported_file import ExportedFile
from strsweep.export.onnx_file import export_onnx
from strsweep.export.program import export_program


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """How one format is written."""

    export: Callable[[nn.Module, Tensor, Path], ExportedFile]
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

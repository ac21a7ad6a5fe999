"""A finished model as a file that other programs read; every file is loaded back and compared."""

from strsweep.export.compressed import export_compressed, load_compressed, save_compressed
from strsweep.export.exported_file import ExportedFile
from strsweep.export.formats import (
    FORMATS,
    ExportFormat,
    check_formats,
    export_dense,
    export_program,
)
from strsweep.export.onnx_file import export_onnx

__all__ = [
    "FORMATS",
    "ExportFormat",
    "ExportedFile",
    "check_formats",
    "export_compressed",
    "export_dense",
    "export_onnx",
    "export_program",
    "load_compressed",
    "save_compressed",
]

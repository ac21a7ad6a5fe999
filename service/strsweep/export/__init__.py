"""A finished model as a file that other programs read; every file is loaded back and compared."""

from strsweep.export.formats import FORMATS, ExportedFile, check_formats

__all__ = ["FORMATS", "ExportedFile", "check_formats"]

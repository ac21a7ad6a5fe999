"""Export a finished model, and show what was written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from torch import nn

from strsweep.errors import ExportError
from strsweep.export import FORMATS, ExportedFile, ExportFormat, Inputs, check_formats
from strsweep.packages.finished_model import finished_model
from strsweep.packages.receipt import WEIGHTS
from strsweep.settings import percent
from strsweep.storage import check_writable
from strsweep.table import Column, as_terminal, rows_of, whole
from strsweep.tasks import task_of
from strsweep.training.rehearsal import example_inputs


class Exports(NamedTuple):
    """What was written of one model."""

    files: dict[str, ExportedFile]
    """By format."""
    dense_bytes: int
    """Of the weights file of the package."""
    failed: tuple[str, ...]
    """What could not be written, and why."""


def export_model(
    reference: str,
    formats: Sequence[str],
    out: Path,
    tracking_uri: str,
    data_path: Path | None = None,
    trust: Sequence[str] = (),
) -> Exports:
    """Write a finished model into the folder ``out``, one file per format.

    The weights are those of the package; every file is loaded back and run on validation samples.

    Args:
        reference: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or a package folder.
        formats: Of ``FORMATS``; none means all.
        out: Is created; files of the same name are replaced.
        tracking_uri: MLflow server of a registered model.
        data_path: Folder of the images, if it is not where it was in training.
        trust: Modules that the files may name.

    Raises:
        CheckpointError: The weights cannot be read.
        SettingError: There is no such format, model, data, or nothing can be written to ``out``.
    """
    names = list(dict.fromkeys(formats)) or list(FORMATS)
    check_formats(names, "--format")
    check_writable(out, "--out", who="this job")
    with finished_model(reference, tracking_uri, trust=trust) as found:
        model, inputs = found.network(), example_inputs(task_of(found.experiment(data_path)))
        dense_bytes = (found.files / WEIGHTS).stat().st_size
    tried = {name: _tried(FORMATS[name], model, inputs, out) for name in names}
    written = {name: file for name, file in tried.items() if isinstance(file, ExportedFile)}
    failed = tuple(str(error) for error in tried.values() if isinstance(error, ExportError))
    return Exports(written, dense_bytes, failed)


def _tried(form: ExportFormat, model: nn.Module, inputs: Inputs, out: Path) -> object:
    """Return the file, or the error: other formats may hold the model."""
    try:
        return form.export(model, inputs, out / form.file_name)
    except ExportError as error:
        return error


def print_exports(exports: Exports) -> None:
    """Print one row per file: its size, its zeros, and how far its outputs are from the model's.

    Raises:
        ExportError: Some files could not be written.
    """
    columns: list[Column[tuple[str, ExportedFile]]] = [
        Column("", lambda item: item[0], "format"),
        Column("", lambda item: item[1].path.name, "file"),
        Column("", lambda item: item[1].num_bytes / 1e6, "MB", "{:,.3f}".format),
        Column(
            "",
            lambda item: item[1].num_bytes / exports.dense_bytes,
            "of dense",
            partial(percent, digits=1),
        ),
        Column("", lambda item: item[1].zeros, "zeros", whole),
        Column("", lambda item: item[1].largest_difference, "largest difference", "{:.2g}".format),
    ]
    print(as_terminal(rows_of(columns, exports.files.items()), "exported"))
    for file in exports.files.values():
        print(file.path)
    if exports.failed:
        raise ExportError("; ".join(exports.failed))

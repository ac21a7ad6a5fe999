"""Export a finished model, and show what was written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from strsweep.export import FORMATS, ExportedFile, check_formats
from strsweep.registry.finished_model import finished_model
from strsweep.registry.package import example_inputs
from strsweep.registry.receipt import WEIGHTS
from strsweep.settings import percent
from strsweep.storage import check_writable
from strsweep.tasks import task_of


class Exports(NamedTuple):
    """What was written of one model."""

    files: dict[str, ExportedFile]
    """By format."""
    dense_bytes: int
    """Of the weights file of the package."""


def export_model(
    reference: str,
    formats: Sequence[str],
    out: Path,
    tracking_uri: str,
    data_path: Path | None = None,
) -> Exports:
    """Write a finished model into the folder ``out``, one file per format.

    The weights are those of the package; every file is loaded back and run on validation samples.

    Args:
        reference: ``models:/NAME@ALIAS``, ``models:/NAME/VERSION`` or a package folder.
        formats: Of ``FORMATS``; none means all.
        out: Is created; files of the same name are replaced.
        tracking_uri: MLflow server of a registered model.
        data_path: Folder of the images, if it is not where it was in training.

    Raises:
        CheckpointError: The weights cannot be read.
        ExportError: A format cannot hold the model.
        SettingError: There is no such format, model, data, or nothing can be written to ``out``.
    """
    names = list(dict.fromkeys(formats)) or list(FORMATS)
    check_formats(names, "--format")
    check_writable(out, "--out", who="this job")
    with finished_model(reference, tracking_uri) as found:
        experiment, model = found.experiment(data_path), found.network()
        dense_bytes = (found.files / WEIGHTS).stat().st_size
    inputs, written = example_inputs(task_of(experiment)), dict[str, ExportedFile]()
    for name in names:
        written[name] = FORMATS[name].export(model, inputs, out / FORMATS[name].file_name)
    return Exports(written, dense_bytes)


def print_exports(exports: Exports) -> None:
    """Print one row per file: its size, its zeros, and how far its outputs are from the model's."""
    table = Table(box=box.SIMPLE_HEAD, title="exported", title_justify="left")
    for column in ("format", "file"):
        table.add_column(column)
    for column in ("MB", "of dense", "zeros", "largest difference"):
        table.add_column(column, justify="right")
    for name, file in exports.files.items():
        size, share = file.num_bytes / 1e6, percent(file.num_bytes / exports.dense_bytes, 1)
        difference = f"{file.largest_difference:.1e}" if file.largest_difference else "0"
        table.add_row(name, file.path.name, f"{size:,.3f}", share, f"{file.zeros:,}", difference)
    console = Console(width=110, highlight=False)
    console.print(table)
    for file in exports.files.values():
        console.print(str(file.path), soft_wrap=True)

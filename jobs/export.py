"""Write a finished model as files that other programs read.

python jobs/export.py --model models:/digits@sparsity-95 --format onnx --format compressed --out out
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from strsweep.cli import DataOption, ModelOption, UriOption, exit_codes, tracking_uri_of
from strsweep.progress import doing

OutOption = Annotated[Path, typer.Option("--out", help="Folder for the files; it is created.")]
FormatOption = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        help="dense (safetensors), program (pt2), onnx, or compressed (safetensors with a bitmask "
        "per weight). Can be repeated; by default all four.",
    ),
]


def main(
    model: ModelOption,
    out: OutOption,
    formats: FormatOption = None,
    tracking_uri: UriOption = None,
    data_path: DataOption = None,
) -> None:
    """Export a model, load every file back, and compare its logits with the model's.

    Exit code 0: every file is written and computes the same; 1: one does not, or the weights cannot
    be read; 2: the input is wrong.
    """
    with exit_codes(), doing(f"exporting {model}"):
        from strsweep.registry import export_model, print_exports

        uri = tracking_uri_of(tracking_uri)
        print_exports(export_model(model, formats or [], out, uri, data_path))


if __name__ == "__main__":
    typer.run(main)

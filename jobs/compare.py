"""Put several sweeps or methods into one report: fronts overlaid, models and cost side by side.

python jobs/compare.py --sweep digits-1a5cca67 --sweep /mnt/other/sweeps/digits-gmp-5c0ffee5
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from strsweep.cli import exit_codes
from strsweep.config.sections import results_folder
from strsweep.progress import doing

SweepsOption = Annotated[
    list[str],
    typer.Option(
        "--sweep",
        metavar="ID_OR_FOLDER",
        help="Id of a sweep under the results folder, or its folder, or s3://BUCKET/PREFIX of it. "
        "Repeatable.",
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="Folder to write to; by default comparison/ in the results folder."),
]


def main(sweeps: SweepsOption, out: OutOption = None) -> None:
    """Write comparison.html, report.json and models.csv; nothing is trained or changed.

    Exit code 0: they are written; 2: a sweep cannot be found or read, or has another metric.
    """
    with exit_codes(), doing("reading the sweeps"):
        from strsweep.registry.report import COMPARISON, comparison_files, read_sweep

        files = comparison_files([read_sweep(reference) for reference in sweeps])
        folder = out or results_folder() / "comparison"
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)
        print(folder.absolute() / COMPARISON)


if __name__ == "__main__":
    typer.run(main)

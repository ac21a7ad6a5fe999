"""An exported program (pt2): runs with torch alone, without the code of the model."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from strsweep.export.exported_file import (
    ExportedFile,
    LoadedExport,
    weight_zeros,
    write_and_check,
)


def export_program(model: nn.Module, example: Tensor, path: Path) -> ExportedFile:
    """Write ``torch.export`` of ``model`` with a free batch; arguments as ``write_and_check``.

    Raises:
        ExportError: torch.export cannot follow the model, or the program computes something else.
    """

    def write(file: Path) -> None:
        batch = {0: torch.export.Dim("batch")}
        program = torch.export.export(model, (example,), dynamic_shapes=(batch,))
        torch.export.save(program, file)

    def load(file: Path) -> LoadedExport:
        program = torch.export.load(file)
        return LoadedExport(run=program.module(), zeros=weight_zeros(model, program.state_dict))

    return write_and_check(model, example, path, write=write, load=load)

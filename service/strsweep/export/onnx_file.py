"""ONNX: runs with onnxruntime, TensorRT, OpenVINO and many more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from strsweep.export.exported_file import (
    ExportedFile,
    Inputs,
    LoadedExport,
    tensors_in,
    write_and_check,
)

_WEIGHT_INPUT = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
"""Which input of an operator is its weight."""
_RESHAPING = {"Transpose", "Reshape", "Identity"}


def export_onnx(model: nn.Module, inputs: Inputs, path: Path) -> ExportedFile:
    """Write ONNX with a free batch, one file, and run it with onnxruntime.

    Input and output are called ``input`` and ``output``, with a number where there are several.
    Batch norms are merged into the convolution before them, so the weights are scaled, but zeros
    stay zeros. Arguments as ``write_and_check``. Needs the packages of the extra ``onnx``.

    Raises:
        ExportError: The exporter cannot follow the model, the file would exceed the 2 GB that ONNX
            allows, or onnxruntime computes something else.
    """

    def write(file: Path) -> None:
        torch.onnx.export(
            model,
            inputs,
            file,
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch")},) * len(inputs),
            input_names=_names("input", len(inputs)),
            output_names=_names("output", len(tensors_in(model(*inputs)))),
            external_data=False,
            verbose=False,
        )

    return write_and_check(model, inputs, path, write=write, load=_load)


def _names(kind: str, count: int) -> list[str]:
    return [kind] if count == 1 else [f"{kind}_{index}" for index in range(count)]


def _load(path: Path) -> LoadedExport:
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session: Any = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"]
    )

    names = [value.name for value in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        given = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return [torch.from_numpy(output) for output in session.run(None, given)]

    return LoadedExport(run=run, zeros=_weight_zeros(onnx.load(str(path)).graph))


def _weight_zeros(graph: Any) -> int:
    """Count zeros in the weights that the graph multiplies; the exporter renames some of them."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    origin = {node.output[0]: node.input[0] for node in graph.node if node.op_type in _RESHAPING}
    names: set[str] = set()
    for node in graph.node:
        if node.op_type in _WEIGHT_INPUT:
            name = node.input[_WEIGHT_INPUT[node.op_type]]
            while name in origin:
                name = origin[name]
            names.add(name)
    weights = (numpy_helper.to_array(constants[name]) for name in names & constants.keys())
    return sum(int((weight == 0).sum()) for weight in weights)

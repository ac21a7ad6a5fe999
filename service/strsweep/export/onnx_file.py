"""ONNX: runs with onnxruntime, TensorRT, OpenVINO and many more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from strsweep.export.exported_file import Inputs, LoadedExport, tensors_in

_WEIGHT_INPUT = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1}
"""Which input of an operator is its weight."""
_RESHAPING = {"Transpose", "Reshape", "Identity"}


def write_onnx(model: nn.Module, inputs: Inputs, path: Path) -> None:
    """Write ONNX with a free batch, in one file; needs the packages of the extra ``onnx``.

    Input and output are called ``input`` and ``output``, with a number where there are several.
    Batch norms are merged into the convolution before them, so the weights are scaled, but zeros
    stay zeros. The exporter raises anything if it cannot follow the model, or if the file would
    exceed the 2 GB that ONNX allows.
    """
    torch.onnx.export(
        model,
        inputs,
        path,
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},) * len(inputs),
        input_names=_names("input", len(inputs)),
        output_names=_names("output", len(tensors_in(model(*inputs)))),
        external_data=False,
        verbose=False,
    )


def _names(kind: str, count: int) -> list[str]:
    return [kind] if count == 1 else [f"{kind}_{index}" for index in range(count)]


def load_onnx(_: nn.Module, path: Path) -> LoadedExport:
    """Check the file, and return it as onnxruntime runs it."""
    import onnx
    import onnxruntime

    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session: Any = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]

    def run(*inputs: Tensor) -> list[Tensor]:
        given = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return [torch.from_numpy(output) for output in session.run(None, given)]

    return LoadedExport(run, _weight_zeros(onnx.load(str(path)).graph))


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

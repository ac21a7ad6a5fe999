"""A finished model as a file that other programs read; each is loaded back and compared."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from strsweep.errors import ExportError, SettingError
from strsweep.models.start import load_weights
from strsweep.sparsity.convert import is_ours
from strsweep.sparsity.layers import weight_tensors

Inputs = tuple[Tensor, ...]
"""Arguments of a model for a batch."""
_TOLERANCE = 1e-4
"""Allowed difference of an output, as a share of the largest; float32 sums differ by 1e-6."""
_WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}
"""Operators whose second input is their weight."""
_RESHAPING = {"Transpose", "Reshape", "Identity"}


class ExportedFile(NamedTuple):
    """One file that was written and checked."""

    path: Path
    num_bytes: int
    zeros: int
    """Exact zeros among convolution and linear weights, counted in the file."""
    largest_difference: float
    """Largest absolute difference of an output from the model's, on batches of one and three."""


class LoadedExport(NamedTuple):
    """A file that was loaded back."""

    run: Callable[..., Any]
    """Takes the arguments of the model; returns its outputs."""
    zeros: int


@dataclass(frozen=True, kw_only=True)
class ExportFormat:
    """How files of one format are written, and loaded back."""

    file_name: str
    write: Callable[[nn.Module, Inputs, Path], object]
    """Writes a model into a file."""
    load: Callable[[nn.Module, Path], LoadedExport]
    """Loads the file of a model."""
    packages: tuple[str, ...] = ()
    """What must be installed beyond the dependencies of strsweep."""

    def export(self, model: nn.Module, inputs: Inputs, path: Path) -> ExportedFile:
        """Write beside ``path``, load back, compare, and only then take the name ``path``.

        Args:
            model: Plain (no thresholds), in evaluation mode, on the CPU.
            inputs: Arguments of the model for two samples, each of shape [2, ...]; one sample would
                freeze a batch of one into a program.
            path: Where the file goes; a file there is replaced.

        Raises:
            ExportError: The format cannot hold the model, or what was written is not the model.
            ValueError: ``model`` or ``inputs`` is not as described.
        """
        _check_arguments(model, inputs)
        partial = path.with_stem(f"{path.stem}.partial")
        try:
            with quiet(), torch.no_grad():
                self.write(model, inputs, partial)
                loaded = self.load(model, partial)
                difference = largest_difference(model, loaded.run, inputs)
            # More are possible: a batch norm that scales a channel by 0 is merged into its weights.
            if loaded.zeros < (zeros := weight_zeros(model, model.state_dict())):
                raise ExportError(f"the file holds {loaded.zeros} zeros, the model {zeros}")
            partial.replace(path)
        except Exception as error:  # exporters raise anything on a model they cannot follow
            reason = (str(error).splitlines() or [""])[0]
            kind = "" if isinstance(error, ExportError) else f"{type(error).__name__}: "
            raise ExportError(f"{path} cannot be written: {kind + reason:.300}") from error
        finally:
            partial.unlink(missing_ok=True)
        return ExportedFile(path, path.stat().st_size, loaded.zeros, difference)


@contextmanager
def quiet() -> Generator[None]:
    """Let exporters say nothing: nobody can act on it, and the comparison decides."""
    for name in ("torch.export", "torch.fx.experimental.symbolic_shapes"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def weight_zeros(model: nn.Module, state: Mapping[str, Tensor]) -> int:
    """Count the zeros in ``state`` of the weights that are convolution or linear in ``model``."""
    values = {weight.parameter: weight.value for weight in weight_tensors(model)}
    # A weight that is computed (weight norm) is in no state.
    return sum(int((state.get(name, value) == 0).sum()) for name, value in values.items())


def tensors_in(outputs: Any) -> list[Tensor]:
    """Return the tensors of what a model returns, in the order of its tuples and dictionaries."""
    if isinstance(outputs, Tensor):
        return [outputs]
    inner = outputs.values() if isinstance(outputs, Mapping) else outputs
    if isinstance(inner, Iterable) and not isinstance(inner, str):
        return [tensor for value in inner for tensor in tensors_in(value)]  # pyright: ignore[reportUnknownVariableType]
    return []


def _check_arguments(model: nn.Module, inputs: Inputs) -> None:
    if not inputs:
        raise ExportError("a program takes tensors, and the model of this task takes others")
    if any(is_ours(weight) for weight in weight_tensors(model)):
        raise ValueError("the model has thresholds or masks: bake() makes it plain")
    if any(module.training for module in model.modules()):
        raise ValueError("the model is in training mode: call eval() first")
    if any(len(value) != 2 for value in inputs):
        raise ValueError(f"the inputs have shapes {[list(v.shape) for v in inputs]}: use [2, ...]")


def largest_difference(model: nn.Module, run: Callable[..., Any], inputs: Inputs) -> float:
    """Compare on other batch sizes than the example's, which shows that the batch is free.

    Raises:
        ExportError: ``run`` returns something else than ``model``.
    """
    largest = 0.0
    if not inputs:
        return largest
    for rows in ([0], [0, 1, 0]):
        batch = [value[rows] for value in inputs]
        expected, outputs = tensors_in(model(*batch)), tensors_in(run(*batch))
        if len(expected) != len(outputs):
            raise ExportError(f"the file returns {len(outputs)} tensors, the model {len(expected)}")
        for one, other in zip(expected, outputs, strict=True):
            difference = float((other.double() - one.double()).abs().max())
            allowed = _TOLERANCE * max(1.0, float(one.abs().max()))
            if not difference <= allowed:  # also for NaN
                told = f"they differ by {difference:g}, allowed are {allowed:g}"
                raise ExportError(f"the file computes other outputs than the model: {told}")
            largest = max(largest, difference)
    return largest


def owned_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict as contiguous copies: safetensors refuses what shares memory (ties)."""
    return {name: tensor.contiguous().clone() for name, tensor in model.state_dict().items()}


def _load_dense(model: nn.Module, path: Path) -> LoadedExport:
    copy, state = deepcopy(model), load_file(path)
    load_weights(copy, state)
    return LoadedExport(copy, weight_zeros(model, state))


def _write_program(model: nn.Module, inputs: Inputs, path: Path) -> None:
    """Write a program (pt2) with a free batch; it runs with torch alone."""
    batch = {0: torch.export.Dim("batch")}
    program = torch.export.export(model, inputs, dynamic_shapes=(batch,) * len(inputs))
    torch.export.save(program, path)


def _load_program(model: nn.Module, path: Path) -> LoadedExport:
    program = torch.export.load(path)
    return LoadedExport(program.module(), weight_zeros(model, program.state_dict))


def _write_onnx(model: nn.Module, inputs: Inputs, path: Path) -> None:
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
        input_names=_numbered("input", len(inputs)),
        output_names=_numbered("output", len(tensors_in(model(*inputs)))),
        external_data=False,
        verbose=False,
    )


def _numbered(kind: str, count: int) -> list[str]:
    return [kind] if count == 1 else [f"{kind}_{index}" for index in range(count)]


def _load_onnx(_: nn.Module, path: Path) -> LoadedExport:
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

    return LoadedExport(run, _zeros_of_graph(onnx.load(str(path)).graph))


def _zeros_of_graph(graph: Any) -> int:
    """Count zeros in the weights that the graph multiplies; the exporter renames some of them."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    origin = {node.output[0]: node.input[0] for node in graph.node if node.op_type in _RESHAPING}
    names: set[str] = set()
    for node in graph.node:
        if node.op_type in _WEIGHTED:
            name = node.input[1]
            while name in origin:
                name = origin[name]
            names.add(name)
    weights = (numpy_helper.to_array(constants[name]) for name in names & constants.keys())
    return sum(int((weight == 0).sum()) for weight in weights)


FORMATS = {
    "dense": ExportFormat(
        file_name="model.safetensors",
        write=lambda model, _, path: path.write_bytes(save(owned_state(model))),
        load=_load_dense,
    ),
    "program": ExportFormat(file_name="model.pt2", write=_write_program, load=_load_program),
    "onnx": ExportFormat(
        file_name="model.onnx",
        write=_write_onnx,
        load=_load_onnx,
        packages=("onnx", "onnxscript", "onnxruntime"),
    ),
}


def check_formats(names: Sequence[str], setting: str) -> None:
    """Raise ``SettingError`` unless the formats exist and can be written here."""
    for name in names:
        if name not in FORMATS:
            raise SettingError(setting, name, f"Use one of {sorted(FORMATS)}.")
        missing = [package for package in FORMATS[name].packages if find_spec(package) is None]
        if missing:
            remedy = f"Run pip install {' '.join(missing)}, or name the formats that you want."
            raise SettingError(setting, name, remedy)

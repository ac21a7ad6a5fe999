"""Write a file, load it back, and accept it only if it computes what the model computes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from strsweep.errors import ExportError
from strsweep.sparsity.convert import is_ours
from strsweep.sparsity.layers import weight_tensors

Inputs = tuple[Tensor, ...]
"""Arguments of a model for a batch."""
_TOLERANCE = 1e-4
"""Allowed difference of an output, as a share of the largest; float32 sums differ by 1e-6."""


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
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # nobody can act on them; the comparison decides
                self.write(model, inputs, partial)
                loaded = self.load(model, partial)
                difference = _largest_difference(model, loaded.run, inputs)
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


def weight_zeros(model: nn.Module, state: Mapping[str, Tensor]) -> int:
    """Count the zeros in ``state`` of the weights that are convolution or linear in ``model``."""
    return sum(int((state[weight.parameter] == 0).sum()) for weight in weight_tensors(model))


def tensors_in(outputs: Any) -> list[Tensor]:
    """Return the tensors of what a model returns, in the order of its tuples and dictionaries."""
    if isinstance(outputs, Tensor):
        return [outputs]
    inner = outputs.values() if isinstance(outputs, Mapping) else outputs
    if isinstance(inner, Iterable) and not isinstance(inner, str):
        return [tensor for value in inner for tensor in tensors_in(value)]  # pyright: ignore[reportUnknownVariableType]
    return []


def _check_arguments(model: nn.Module, inputs: Inputs) -> None:
    if any(is_ours(weight) for weight in weight_tensors(model)):
        raise ValueError("the model has thresholds or masks: bake() makes it plain")
    if any(module.training for module in model.modules()):
        raise ValueError("the model is in training mode: call eval() first")
    if any(len(value) != 2 for value in inputs):
        raise ValueError(f"the inputs have shapes {[list(v.shape) for v in inputs]}: use [2, ...]")


def _largest_difference(model: nn.Module, run: Callable[..., Any], inputs: Inputs) -> float:
    """Compare on other batch sizes than the example's, which shows that the batch is free."""
    largest = 0.0
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

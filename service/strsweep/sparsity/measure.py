"""Count zeros, weights and multiply-adds, per layer and in total, as exact integers."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode

from strsweep.sparsity.convert import parametrization_of
from strsweep.sparsity.layers import WeightTensor, weight_tensors
from strsweep.sparsity.threshold import Pruning


@dataclass(frozen=True, kw_only=True)
class LayerSparsity:
    """What one convolution or linear layer keeps; layers that share a weight are one."""

    name: str
    parameter: str
    """Name of the weight in the state of the dense model."""
    weights: int
    zeros: int
    dense_macs: int | None
    """Multiply-adds of the dense layer for one input; None if no example was given."""
    macs: int | None
    """Multiply-adds that are left when zero weights are skipped."""
    threshold: float | None
    """Learned threshold, the mean if there are several; None for a layer without one."""

    @property
    def sparsity(self) -> float:
        """Share of exact zeros, in [0, 1]."""
        return self.zeros / self.weights


@dataclass(frozen=True, kw_only=True)
class SparsityReport:
    """The layers of one model, in the order of the model, and their totals."""

    layers: tuple[LayerSparsity, ...]

    @property
    def weights(self) -> int:
        """Number of convolution and linear weights: the paper's denominator (appendix A.7)."""
        return sum(layer.weights for layer in self.layers)

    @property
    def zeros(self) -> int:
        """Number of weights that are exactly zero."""
        return sum(layer.zeros for layer in self.layers)

    @property
    def sparsity(self) -> float:
        """Share of exact zeros among the weights, in [0, 1]."""
        return self.zeros / self.weights

    @property
    def dense_macs(self) -> int | None:
        """Multiply-adds of the dense model for one input; batch norm is not counted."""
        return _total(layer.dense_macs for layer in self.layers)

    @property
    def macs(self) -> int | None:
        """Multiply-adds that are left when zero weights are skipped."""
        return _total(layer.macs for layer in self.layers)


Example = Tensor | tuple[Any, ...]
"""Arguments of a model for one input: a batch of one, or several arguments in a tuple."""


def measure(model: nn.Module, example: Example | None = None) -> SparsityReport:
    """Count the zeros of ``model``, on the thresholded weights and on the device they are on.

    Args:
        model: Sparsified, baked or dense.
        example: One input, e.g. ``torch.zeros(1, 3, 224, 224)``; a tuple for a model of several
            arguments. The model is run once on it to see how often each weight is used.

    Returns:
        One entry per convolution and linear weight. MACs are None without ``example``.

    Raises:
        ValueError: The model has no convolution or linear layer.
    """
    weights = weight_tensors(model)
    if not weights:
        raise ValueError("the model has no convolution or linear layer to measure")
    # Cached: thresholded once, and the tensor that the model multiplies with is the one counted.
    with torch.no_grad(), parametrize.cached():
        zeros = _integers((weight.value == 0).sum() for weight in weights)
        macs = None if example is None else _macs(model, weights, example)
    return SparsityReport(
        layers=tuple(
            _layer(weight, zeros[index], None if macs is None else macs[index])
            for index, weight in enumerate(weights)
        )
    )


def _layer(weight: WeightTensor, zeros: int, macs: tuple[int, int] | None) -> LayerSparsity:
    step = parametrization_of(weight, Pruning)
    threshold = getattr(step, "threshold", None)
    return LayerSparsity(
        name=weight.name,
        parameter=weight.parameter,
        weights=weight.original.numel(),
        zeros=zeros,
        dense_macs=None if macs is None else macs[0],
        macs=None if macs is None else macs[1],
        threshold=None if threshold is None else threshold.mean().item(),
    )


def _macs(
    model: nn.Module, weights: Sequence[WeightTensor], example: Example
) -> list[tuple[int, int]]:
    """Run ``model`` once; return the dense and the remaining multiply-adds of every weight."""
    like = weights[0].original
    counter = _MacCounter([[use.value for use in weight.uses] for weight in weights])
    # Inference mode and autocast, if the caller is inside them, would hide the weights.
    plain = torch.inference_mode(False), torch.autocast(like.device.type, enabled=False)
    with _evaluating(model), plain[0], plain[1], torch.no_grad(), counter:
        arguments = example if isinstance(example, tuple) else (example,)
        model(*(_like(value, like) for value in arguments))
    return list(zip(counter.dense, _integers(counter.remaining), strict=True))


class _MacCounter(TorchDispatchMode):
    """Sees every convolution and matrix product, however the model calls them.

    A weight is recognized by its memory, so one that is used twice, tied, or used in slices (an
    attention's packed projection) is counted every time, for the part that is used.
    """

    def __init__(self, values: Sequence[Sequence[Tensor]]) -> None:
        super().__init__()
        self._index = {_memory(v): index for index, tied in enumerate(values) for v in tied}
        self.dense = [0] * len(values)
        zero = torch.zeros((), dtype=torch.int64, device=values[0][0].device)
        self.remaining = [zero.clone() for _ in values]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # torch would import its compiler, which takes seconds, to keep it away from this method.
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        for operand, uses in _operands(func, args, output):
            index = self._index.get(_memory(operand))
            if index is not None:
                self.dense[index] += operand.numel() * uses
                self.remaining[index] += (operand != 0).sum() * uses
        return output


def _operands(func: Any, args: Any, output: Tensor) -> list[tuple[Tensor, int]]:
    """Return what ``func`` multiplies, and how often each of its entries is used."""
    if func is torch.ops.aten.convolution.default:
        inputs, weight, is_transposed = args[0], args[1], args[6]
        # A transposed convolution scatters: every weight meets every input position once.
        seen = inputs if is_transposed else output
        return [(weight, seen.numel() // seen.shape[1])]
    if func is torch.ops.aten.addmm.default:
        args = args[1:]
    elif func not in {torch.ops.aten.mm.default, torch.ops.aten.bmm.default}:
        return []
    left, right = args[:2]
    return [(left, right.shape[-1]), (right, left.shape[-2])]


def _like(value: Any, weight: Tensor) -> Any:
    """Return ``value`` on the device of ``weight``, and real numbers in its type."""
    if isinstance(value, Tensor):
        return value.to(weight.device, weight.dtype if value.is_floating_point() else None)
    if isinstance(value, list | tuple):
        return type(value)(_like(inner, weight) for inner in value)  # pyright: ignore[reportUnknownVariableType]
    return value


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]


@contextmanager
def _evaluating(model: nn.Module) -> Generator[None]:
    # Batch norm must not learn from the zeros, and every module must get its own mode back. The
    # fused attention of evaluation mode would hide its projections.
    training = [module for module in model.modules() if module.training]
    fused = torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for module in training:
            module.training = True


def _integers(counts: Iterable[Tensor]) -> list[int]:
    # One transfer for all layers: a copy per layer would stop the GPU 54 times on a ResNet50.
    return torch.stack(list(counts)).tolist()


def _total(values: Iterator[int | None]) -> int | None:
    counted = [value for value in values if value is not None]
    return sum(counted) if counted else None

"""Count zeros, weights and multiply-adds, per layer and in total, as exact integers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd  # pyright: ignore[reportPrivateUsage]

from strsweep.sparsity.convert import WeightLayer, layer_threshold, weight_layers


@dataclass(frozen=True, kw_only=True)
class LayerSparsity:
    """What one convolution or linear layer keeps."""

    name: str
    weights: int
    zeros: int
    dense_macs: int | None
    """Multiply-adds of the dense layer for one input; None if no input shape was given."""
    macs: int | None
    """Multiply-adds that are left when zero weights are skipped."""
    threshold: float | None
    """Learned threshold ``g(s)``; None for a layer without one."""

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


def measure(model: nn.Module, input_shape: Sequence[int] | None = None) -> SparsityReport:
    """Count the zeros of ``model``, on the thresholded weights and on the device they are on.

    Args:
        model: Sparsified, baked or dense.
        input_shape: Shape of one input without the batch, e.g. ``(3, 224, 224)``. The model is run
            once on zeros of this shape to learn at how many positions each weight is used.

    Returns:
        One entry per convolution and linear layer. MACs are None without ``input_shape``.

    Raises:
        ValueError: The model has no convolution or linear layer.
    """
    layers = list(weight_layers(model))
    if not layers:
        raise ValueError("the model has no convolution or linear layer to measure")
    positions = None if input_shape is None else _positions(model, layers, tuple(input_shape))
    with torch.no_grad():
        # One transfer for all layers: a copy per layer would stop the GPU 54 times on a ResNet50.
        counts = torch.stack([(layer.weight == 0).sum() for _, layer in layers]).tolist()
    return SparsityReport(
        layers=tuple(
            _layer_sparsity(name, layer, zeros, None if positions is None else positions[name])
            for (name, layer), zeros in zip(layers, counts, strict=True)
        )
    )


def _layer_sparsity(
    name: str, layer: WeightLayer, zeros: int, positions: int | None
) -> LayerSparsity:
    threshold = layer_threshold(layer)
    weights = layer.weight.numel()
    return LayerSparsity(
        name=name,
        weights=weights,
        zeros=zeros,
        dense_macs=None if positions is None else weights * positions,
        macs=None if positions is None else (weights - zeros) * positions,
        threshold=None if threshold is None else threshold.threshold.item(),
    )


def _positions(
    model: nn.Module, layers: list[tuple[str, WeightLayer]], input_shape: tuple[int, ...]
) -> dict[str, int]:
    """Run ``model`` once and count, per layer, how often each of its weights is multiplied."""
    positions = {name: 0 for name, _ in layers}

    def counter(name: str, layer: WeightLayer) -> Callable[..., None]:
        def count(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            positions[name] += _uses_of_one_weight(layer, inputs[0], output)

        return count

    handles = [layer.register_forward_hook(counter(name, layer)) for name, layer in layers]
    for name, attention in model.named_modules():
        if isinstance(attention, nn.MultiheadAttention):  # it uses out_proj without calling it
            count = _attention_counter(positions, f"{name}.out_proj".lstrip("."))
            handles.append(attention.register_forward_hook(count))
    try:
        like = layers[0][1].weight
        with torch.no_grad(), _evaluating(model):
            model(torch.zeros(1, *input_shape, device=like.device, dtype=like.dtype))
    finally:
        for handle in handles:
            handle.remove()
    return positions


def _attention_counter(positions: dict[str, int], name: str) -> Callable[..., None]:
    def count(attention: nn.MultiheadAttention, _: Any, outputs: tuple[Tensor, ...]) -> None:
        positions[name] += outputs[0].numel() // attention.embed_dim

    return count


def _uses_of_one_weight(layer: WeightLayer, inputs: Tensor, output: Tensor) -> int:
    if isinstance(layer, nn.Linear):
        return output.numel() // layer.out_features
    if isinstance(layer, _ConvTransposeNd):
        # A transposed convolution scatters: each weight meets each input position once.
        return inputs.numel() // layer.in_channels
    return output.numel() // layer.out_channels


@contextmanager
def _evaluating(model: nn.Module) -> Generator[None]:
    # Batch norm must not learn from the zeros, and every module must get its own mode back.
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _total(values: Iterator[int | None]) -> int | None:
    counted = [value for value in values if value is not None]
    return sum(counted) if counted else None

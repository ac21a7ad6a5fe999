"""Count the zeros of a file again: what is delivered is what was counted."""

from __future__ import annotations

from torch import Tensor

from strsweep.journal import LayerRow


def recount(weights: dict[str, Tensor], layers: tuple[LayerRow, ...]) -> tuple[LayerRow, ...]:
    """Return ``layers`` with zeros and MACs counted anew from ``weights``."""
    return tuple(_recounted(weights[layer.parameter], layer) for layer in layers)


def _recounted(weight: Tensor, layer: LayerRow) -> LayerRow:
    zeros = int((weight == 0).sum())
    positions = layer.dense_macs // layer.weights
    return layer.model_copy(
        update={
            "zeros": zeros,
            "weights": weight.numel(),
            "sparsity": zeros / weight.numel(),
            "macs": (weight.numel() - zeros) * positions,
        }
    )

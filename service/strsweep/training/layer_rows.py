"""The layers of a network as the journal has them."""

from __future__ import annotations

from strsweep.journal import LayerRow
from strsweep.sparsity import SparsityReport


def layer_rows(report: SparsityReport) -> tuple[LayerRow, ...]:
    """Return the layers of ``report``, which was measured with an input shape."""
    return tuple(
        LayerRow(
            name=layer.name,
            parameter=layer.parameter,
            weights=layer.weights,
            zeros=layer.zeros,
            sparsity=layer.sparsity,
            dense_macs=layer.dense_macs or 0,
            macs=layer.macs or 0,
            threshold=layer.threshold,
        )
        for layer in report.layers
    )

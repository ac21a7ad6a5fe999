"""Which runs have exactly what was asked."""

from __future__ import annotations

import pytest

from strsweep.journal import LayerRow
from strsweep.settings import Target
from strsweep.training.landing import is_on_target


def layer(*, weights: int, zeros: int, positions: int) -> LayerRow:
    return LayerRow(
        name="conv",
        parameter="conv.weight",
        weights=weights,
        zeros=zeros,
        sparsity=zeros / weights,
        dense_macs=weights * positions,
        macs=(weights - zeros) * positions,
        threshold=0.1,
    )


LAYERS = [
    layer(weights=100, zeros=95, positions=1),
    layer(weights=10, zeros=9, positions=5),
    layer(weights=10, zeros=10, positions=5),
]
"""114 of 120 weights are zeros; 10 of 200 multiply-adds are left."""


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({"sparsity": 0.95}, True),
        ({"sparsity": 0.954}, True),  # 114.48
        ({"sparsity": 0.955}, False),  # 114.6
        ({"sparsity": 0.945}, False),  # 113.4
        ({"macs": 0.05}, True),
        ({"macs": 0.0549}, True),  # 10.98: no more than 10
        ({"macs": 0.055}, False),  # 11
        ({"macs": 0.0499}, False),
        ({"macs": 10}, True),
        ({"macs": 11}, False),
    ],
)
def test_on_target_to_the_weight(target: dict[str, float], expected: bool) -> None:
    assert is_on_target(Target.model_validate(target), LAYERS) is expected

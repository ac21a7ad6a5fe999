"""Equality of training runs to the last bit, in all that the next epoch depends on."""

from __future__ import annotations

from typing import Any

import torch


def assert_same_state(actual: Any, expected: Any) -> None:
    """Compare states of runs entry by entry; only how long an epoch took may differ."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(actual, expected)
    elif isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key in expected.keys() - {"seconds"}:
            assert_same_state(actual[key], expected[key])
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_same_state(one, other)
    else:
        assert actual == expected

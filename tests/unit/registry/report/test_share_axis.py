"""The axis of what is left: everything is on it, targets come first, labels do not touch."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strsweep.registry.report.share_axis import APART, LEAST, left_of, share_axis

SHARES = st.floats(min_value=0, max_value=1)


@given(st.lists(SHARES, max_size=20), st.lists(SHARES, max_size=8))
def test_everything_is_shown_and_labels_keep_apart(left: list[float], targets: list[float]) -> None:
    axis = share_axis(left, targets)
    for share in (*left, *targets):
        assert axis.least <= max(share, LEAST) <= axis.most
    places = [math.log(tick) for tick in axis.ticks]
    length = math.log(axis.most / axis.least)
    for one, next_one in pairwise(places):
        assert one - next_one >= APART * length * (1 - 1e-9)


def test_targets_are_labelled_before_round_numbers() -> None:
    axis = share_axis([0.5, 0.01], [0.2, 0.1, 0.052, 0.02])
    layout = axis.layout("sparsity", is_pruned_shown=True)
    assert layout["ticktext"] == ["50 %", "80 %", "90 %", "94.8 %", "98 %", "99 %"]
    assert layout["range"][0] > layout["range"][1]  # more pruned is further right
    assert axis.layout("MACs", is_pruned_shown=False)["ticktext"][-1] == "1 %"


@pytest.mark.parametrize(("pruned", "left"), [(0.0, 1.0), (0.95, 0.05), (1.0, LEAST)])
def test_what_is_left(pruned: float, left: float) -> None:
    assert left_of(pruned) == pytest.approx(left)

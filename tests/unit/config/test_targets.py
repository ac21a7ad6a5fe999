"""A target is a sparsity or a number of multiply-adds; anything else is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from strsweep.config import SearchConfig
from strsweep.errors import SettingError
from strsweep.settings import Target, percent

DENSE = 452_224
READ: TypeAdapter[Target] = TypeAdapter(Target)
sparsities = st.floats(0, 1, exclude_min=True, exclude_max=True)
multiply_adds = st.one_of(
    st.floats(0, 1, exclude_min=True, exclude_max=True), st.integers(1, 10**12).map(float)
)
targets = st.one_of(
    sparsities.map(lambda share: Target(sparsity=share)),
    multiply_adds.map(lambda macs: Target(macs=macs)),
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (0.9, Target(sparsity=0.9)),
        ({"sparsity": 0.9}, Target(sparsity=0.9)),
        ({"macs": 0.05}, Target(macs=0.05)),
        ({"macs": 20000}, Target(macs=20000)),
        (Target(macs=20000), Target(macs=20000)),
    ],
)
def test_numbers_and_mappings(written: Any, expected: Target) -> None:
    assert READ.validate_python(written) == expected
    assert SearchConfig(targets=(written,), weight_decay=0).targets == (expected,)


@pytest.mark.parametrize(
    ("target", "label", "shown", "pruned"),
    [
        (Target(sparsity=0.95), "sparsity-95", "95 %", 0.95),
        (Target(sparsity=0.985), "sparsity-98-5", "98.5 %", 0.985),
        (Target(sparsity=0.07), "sparsity-7", "7 %", 0.07),
        (Target(macs=0.05), "macs-5", "5 % MACs", 0.95),
        (Target(macs=0.125), "macs-12-5", "12.5 % MACs", 0.875),
        (Target(macs=20000), "20000-macs", "20,000 MACs", 1 - 20000 / DENSE),
        (Target(macs=1), "1-macs", "1 MACs", 1 - 1 / DENSE),
    ],
)
def test_labels_texts_and_shares_by_hand(
    target: Target, label: str, shown: str, pruned: float
) -> None:
    assert (target.label, str(target)) == (label, shown)
    assert target.pruned(DENSE) == pytest.approx(pruned)
    assert target.quantity == ("macs" if "macs" in label else "sparsity")


@pytest.mark.parametrize(
    "written", ["x", True, None, [0.9], {"zeros": 0.9}, {"macs": 0}, {"macs": -1}, {"macs": "few"}]
)
def test_what_has_no_such_form_is_refused(written: Any) -> None:
    with pytest.raises((ValidationError, SettingError)):
        READ.validate_python(written)


@pytest.mark.parametrize("macs", [DENSE, DENSE + 1, 1e12])
def test_as_many_multiply_adds_as_the_dense_network_has_are_refused(macs: float) -> None:
    with pytest.raises(SettingError, match="has 452,224 multiply-adds: ask for fewer"):
        Target(macs=macs).pruned(DENSE)
    assert 0 < Target(macs=DENSE - 1).pruned(DENSE) < 1e-5


@given(targets)
def test_json_gives_the_same_target_back(target: Target) -> None:
    text = target.model_dump_json()
    for mode in (None, True):  # strict or not
        assert Target.model_validate_json(text, strict=mode) == target
    assert READ.validate_python(json.loads(text)) == target
    assert json.loads(text) == (target.sparsity or {"macs": target.macs})
    assert hash(Target.model_validate_json(text)) == hash(target)


@given(targets)
def test_labels_are_names_of_folders(target: Target) -> None:
    assert set(target.label) <= set("abcdefghijklmnopqrstuvwxyz0123456789-+")


def test_sparsity_and_multiply_adds_of_the_same_number_differ() -> None:
    both = SearchConfig.model_validate({"targets": (0.9, {"macs": 0.9}), "weight_decay": 0}).targets
    assert len({target.label for target in both}) == len(set(both)) == 2


@pytest.mark.parametrize(
    ("fraction", "digits", "text"),
    [
        (0.9, None, "90 %"),
        (0.07, None, "7 %"),
        (0.9876, None, "98.76 %"),
        (0.89876, 2, "89.88 %"),
        (1, 0, "100 %"),
    ],
)
def test_percent(fraction: float, digits: int | None, text: str) -> None:
    assert percent(fraction, digits) == text

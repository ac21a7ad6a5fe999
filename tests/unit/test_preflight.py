"""A sweep needs something to search, a single run needs nothing left open."""

from __future__ import annotations

import pytest
from samples import load

from strsweep.auto import fixed_settings
from strsweep.errors import SettingError
from strsweep.preflight import check_run, check_sweep
from strsweep.settings import RunSettings

STEERED, DENSE = ("sparsity.mode=steered",), ("sparsity.mode=dense",)
GMP, DNW = ("sparsity.mode=gmp",), ("sparsity.mode=dnw",)
UNIFORM, ERK = "sparsity.budget=uniform", "sparsity.budget=erk"
BY_LAYER = "sparsity.budget={" + "".join(f"block{n}.conv: 0.2, " for n in range(1, 6)) + "fc: 1}"
SHARED, ALONE = "search.decay=shared", "search.share_prefix=false"
INITS = ("search.threshold_init=[-20, -5]", "search.led=false")


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("search.max_runs=5",),
        ("search.max_runs=4", ALONE),
        ("search.threshold_decay=[1e-2, 2e-1]", "search.led=false"),
        ("search.threshold_decay=1e-1", *INITS),
        (SHARED, "search.weight_decay=auto"),
        (SHARED, "search.weight_decay=[4e-3, 2.4e-2]", "search.led=false", "search.max_runs=4"),
        (*DNW, ERK),
        (*GMP, UNIFORM, "search.max_runs=4"),
        (*STEERED, "search.max_runs=5", "search.baseline=true"),
        (*GMP, ERK, "sparsity.dense_first=true", "sparsity.dense_last=true"),
    ],
)
def test_what_leaves_something_open_is_swept(overrides: tuple[str, ...]) -> None:
    check_sweep(load(*overrides))


@pytest.mark.parametrize(
    ("overrides", "key", "told"),
    [
        (["search.targets=[]"], "search.targets", r"\[\]\. Name the sparsities"),
        (
            ["search.threshold_decay=0.1", "search.threshold_init=-5"],
            "search.threshold_decay",
            r"0\.1\. .*nothing to search: write auto or a range",
        ),
        ([SHARED], "search.weight_decay", r"0\.0005\. .*nothing to search"),
        (
            ["search.threshold_init=[-9, -5]", "search.threshold_decay=0.1"],
            "search.threshold_init",
            r"\[-9\.0, -5\.0\].*led=false, or write auto",
        ),
        (
            ["search.threshold_decay=[0.01, 0.1]"],
            "search.threshold_decay",
            r"\[0\.01, 0\.1\].*led=false, or write auto",
        ),
        (["search.max_runs=4"], "search.max_runs", r"4\. .*epochs that all share: .*least 5"),
        (["search.max_runs=3", ALONE], "search.max_runs", r"3\. .*a run of its own: .*at least 4"),
        (
            ["search.max_runs=4", ALONE, "search.baseline=true"],
            "search.max_runs",
            r"4\. .*at least 5",
        ),
        (
            ["search.max_runs=3", SHARED, "search.weight_decay=auto"],
            "search.max_runs",
            r"3\. .*at least 4",
        ),
        (["search.max_epochs=29"], "search.max_epochs", r"29\. .*at least 30"),
        (["search.targets=[{macs: 5}]"], "search.targets", r".*5\.0}\. .*write 0\.05 for 5 %"),
        (["search.targets=[{macs: 0.05}, {macs: 22611.2}]"], "search.targets", ".*are the same"),
        ([*GMP, BY_LAYER], "sparsity.mode", r"'gmp'\. .*one run only.*strsweep train"),
        (DENSE, "sparsity.mode", r"'dense'\. .*one run only.*strsweep train"),
        ([*GMP, UNIFORM, "search.targets=[]"], "search.targets", r"\[\]\. Name the"),
        ([*GMP, UNIFORM, "search.max_runs=3"], "search.max_runs", r"3\. .*at least 4"),
        (
            [*GMP, UNIFORM, "sparsity.skip=['block[45].*']"],
            "sparsity.budget",
            r"'uniform'\. sparsity 0\.98 cannot be reached while .*stay",
        ),
        ([*GMP, ERK, "sparsity.skip=[conv9]"], "sparsity.skip", r"\['conv9'\]\. .*no layer"),
    ],
)
def test_what_cannot_be_swept_is_refused(overrides: list[str], key: str, told: str) -> None:
    with pytest.raises(SettingError, match=f"^{key}: got {told}"):
        check_sweep(load(*overrides))


@pytest.mark.parametrize("decay", [1e-1, 0.0, 2.0**-5])
@pytest.mark.parametrize("kind", ["own", "shared"])
def test_single_run_takes_the_numbers_as_they_are_written(kind: str, decay: float) -> None:
    knob = "threshold_decay" if kind == "own" else "weight_decay"
    told = (f"search.decay={kind}", f"search.{knob}={decay!r}", "search.threshold_init=-10")
    settled, problem = check_run(load(*told, "search.targets=[]"))
    assert fixed_settings(settled, problem) == RunSettings(
        threshold_init=-10,
        weight_decay=decay if kind == "shared" else 5e-4,
        threshold_decay=decay if kind == "own" else None,
        onset=10 if kind == "own" else 0,
    )


@pytest.mark.parametrize("overrides", [(*GMP, BY_LAYER), (*DNW, BY_LAYER), DENSE])
def test_what_has_one_run_is_trained(overrides: tuple[str, ...]) -> None:
    check_run(load(*overrides))


OPEN = r".*which decides the sparsity: add --set {}=NUMBER; strsweep plan tells"


@pytest.mark.parametrize(
    ("overrides", "key", "told"),
    [
        ((), "search.threshold_decay", "'auto'" + OPEN),
        (("search.threshold_decay=[0.01, 0.2]",), "search.threshold_decay", r"\[0\.01, " + OPEN),
        ((SHARED, "search.weight_decay=[4e-3, 0.1]"), "search.weight_decay", r"\[0\.004" + OPEN),
        (("search.threshold_decay=0.1", *INITS), "search.threshold_init", r"\[-20.*" + OPEN),
        ((*GMP, UNIFORM), "sparsity.mode", r"'gmp'\. .*one run per target.*strsweep sweep"),
        (STEERED, "sparsity.mode", r"'steered'\. .*one run per target.*train --budget for a"),
        (
            (*GMP, "sparsity.budget={fc: 0.5}"),
            "sparsity.budget",
            r"'of 1 layers'\. .*only in the model: \['block1\.conv'",
        ),
        ((*GMP, BY_LAYER, "sparsity.skip=[x]"), "sparsity.skip", r"\['x'\]\. .*no layer"),
        ((*DENSE, "sparsity.skip=[x]"), "sparsity.skip", r"\['x'\]\. .*no layer"),
        (
            (*DNW, BY_LAYER.replace("fc", "head")),
            "sparsity.budget",
            r".*only in the model: \['fc'\], only in the budget: \['head'\]",
        ),
    ],
)
def test_what_is_no_single_run_is_refused(overrides: tuple[str, ...], key: str, told: str) -> None:
    with pytest.raises(SettingError, match=f"^{key}: got {told.replace('{}', key)}"):
        check_run(load(*overrides))

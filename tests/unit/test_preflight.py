"""A sweep needs something to search, a single run needs nothing left open."""

from __future__ import annotations

from pathlib import Path

import pytest

from strsweep.auto import fixed_settings
from strsweep.config import Experiment, load_experiment
from strsweep.errors import SettingError
from strsweep.preflight import check_run, check_sweep
from strsweep.settings import RunSettings

STEERED = ("sparsity.mode=steered",)
SHARED = "search.decay=shared"
INITS = ("search.threshold_init=[-20, -5]", "search.led=false")

DIGITS = Path(__file__).parents[2] / "jobs" / "configs" / "digits.yaml"


def load(*overrides: str) -> Experiment:
    return load_experiment(DIGITS, overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("search.max_runs=5",),
        ("search.max_runs=4", "search.share_prefix=false"),
        ("search.threshold_decay=[1e-2, 2e-1]", "search.led=false"),
        ("search.threshold_decay=1e-1", *INITS),
        (SHARED, "search.weight_decay=auto"),
        (SHARED, "search.weight_decay=[4e-3, 2.4e-2]", "search.led=false", "search.max_runs=4"),
        (SHARED, "search.weight_decay=1.6e-2", *INITS),
    ],
)
def test_what_leaves_something_open_is_searchable(overrides: tuple[str, ...]) -> None:
    check_sweep(load(*overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["search.targets=[]"], r"^search\.targets: got \[\]\. Name the sparsities"),
        (["search.threshold_decay=0.1"], r"^search\.threshold_decay: got 0\.1\. .*nothing to sea"),
        (
            ["search.threshold_decay=0.1", "search.threshold_init=-5"],
            r"^search\.threshold_decay: got 0\.1\. .*nothing to search: write auto or a range",
        ),
        ([SHARED], r"^search\.weight_decay: got 0\.0005\. .*nothing to search"),
        (
            ["search.threshold_init=[-9, -5]", "search.threshold_decay=0.1"],
            r"^search\.threshold_init: got \[-9\.0, -5\.0\].*led=false, or write auto",
        ),
        (
            ["search.threshold_decay=[0.01, 0.1]"],
            r"^search\.threshold_decay: got \[0\.01, 0\.1\].*led=false, or write auto",
        ),
        (["search.max_runs=4"], r"^search\.max_runs: got 4\. .*epochs that all share: .*least 5"),
        (
            ["search.max_runs=3", "search.share_prefix=false"],
            r"^search\.max_runs: got 3\. Every target needs a run of its own: .*at least 4",
        ),
        (
            ["search.max_runs=4", "search.share_prefix=false", "search.baseline=true"],
            r"^search\.max_runs: got 4\. .*at least 5",
        ),
        (
            ["search.max_runs=3", SHARED, "search.weight_decay=auto"],
            r"^search\.max_runs: got 3\. .*at least 4",
        ),
        (["search.max_epochs=29"], r"^search\.max_epochs: got 29\. .*at least 30"),
        (["search.targets=[{macs: 5}]"], r"^search\.targets: got .*5\.0}\. .*write 0\.05 for 5 %"),
        (["search.targets=[{macs: 0.05}, {macs: 22611.2}]"], r"^search\.targets: .*are the same"),
    ],
)
def test_sweep_without_a_search_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(SettingError, match=message):
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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            (),
            r"^search\.threshold_decay: got 'auto'.*--set search\.threshold_decay=NUMBER",
        ),
        (
            ("search.threshold_decay=[0.01, 0.2]",),
            r"^search\.threshold_decay: got \[0\.01, 0\.2\].*--set search\.threshold_decay=NUMBER",
        ),
        (
            (SHARED, "search.weight_decay=[4e-3, 2.4e-2]"),
            r"^search\.weight_decay: got \[0\.004, 0\.024\].*--set search\.weight_decay=NUMBER",
        ),
        (
            ("search.threshold_decay=0.1", *INITS),
            r"^search\.threshold_init: .*--set search\.threshold_init=NUMBER",
        ),
    ],
)
def test_single_run_with_something_open_is_refused(
    overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        check_run(load(*overrides))


GMP, DNW, DENSE = (("sparsity.mode=gmp",), ("sparsity.mode=dnw",), ("sparsity.mode=dense",))
UNIFORM, ERK = "sparsity.budget=uniform", "sparsity.budget=erk"
BY_LAYER = "sparsity.budget={" + ", ".join([
    *(f"block{number}.conv: 0.2" for number in range(1, 6)),
    "fc: 1}",
])


@pytest.mark.parametrize(
    "overrides",
    [
        (*GMP, UNIFORM),
        (*DNW, ERK),
        (*GMP, UNIFORM, "search.max_runs=4"),
        (*STEERED, "search.max_runs=5", "search.baseline=true"),
        (*GMP, ERK, "sparsity.dense_first=true", "sparsity.dense_last=true"),
    ],
)
def test_a_rule_for_budgets_is_swept(overrides: tuple[str, ...]) -> None:
    check_sweep(load(*overrides))


@pytest.mark.parametrize("overrides", [(*GMP, BY_LAYER), (*DNW, BY_LAYER), DENSE])
def test_what_has_one_run_is_trained(overrides: tuple[str, ...]) -> None:
    check_run(load(*overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((*GMP, BY_LAYER), r"^sparsity\.mode: got 'gmp'\. .*one run only.*strsweep train"),
        ((*DNW, BY_LAYER), r"^sparsity\.mode: got 'dnw'\. .*one run only.*strsweep train"),
        (DENSE, r"^sparsity\.mode: got 'dense'\. .*one run only.*strsweep train"),
        ((*GMP, UNIFORM, "search.targets=[]"), r"^search\.targets: got \[\]\. Name the"),
        ((*GMP, UNIFORM, "search.max_runs=3"), r"^search\.max_runs: got 3\. .*at least 4"),
        (
            (*GMP, UNIFORM, "sparsity.skip=['block[45].*']"),
            r"^sparsity\.budget: got 'uniform'\. sparsity 0\.98 cannot be reached while .*stay",
        ),
        ((*GMP, ERK, "sparsity.skip=[conv9]"), r"^sparsity\.skip: got \['conv9'\]\. .*no layer"),
    ],
)
def test_a_budget_that_cannot_be_swept_is_refused(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        check_sweep(load(*overrides))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((*GMP, UNIFORM), r"^sparsity\.mode: got 'gmp'\. .*one run per target.*strsweep sweep"),
        (
            STEERED,
            r"^sparsity\.mode: got 'steered'\. .*one run per target.*train --budget for a",
        ),
        ((*DNW, ERK), r"^sparsity\.mode: got 'dnw'\. .*one run per target.*strsweep sweep"),
        (
            (*GMP, "sparsity.budget={fc: 0.5}"),
            r"^sparsity\.budget: got 'of 1 layers'\. .*only in the model: \['block1\.conv'",
        ),
        ((*GMP, BY_LAYER, "sparsity.skip=[x]"), r"^sparsity\.skip: got \['x'\]\. .*no layer"),
        ((*DENSE, "sparsity.skip=[x]"), r"^sparsity\.skip: got \['x'\]\. .*no layer"),
        (
            (*DNW, BY_LAYER.replace("fc", "head")),
            r"^sparsity\.budget: got .*only in the model: \['fc'\], only in the budget: \['head'\]",
        ),
    ],
)
def test_a_budget_that_makes_no_single_run_is_refused(
    overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SettingError, match=message):
        check_run(load(*overrides))

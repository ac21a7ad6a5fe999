"""A sweep needs something to search, a single run needs nothing left open."""

from __future__ import annotations

from pathlib import Path

import pytest

from strsweep.config import Experiment, RunSettings, load_experiment
from strsweep.errors import SettingError
from strsweep.preflight import check_run, check_sweep
from strsweep.sweep.path import SearchPath

DIGITS = Path(__file__).parents[2] / "jobs" / "configs" / "digits.yaml"


def load(*overrides: str) -> Experiment:
    return load_experiment(DIGITS, overrides)


def test_the_shipped_config_is_searchable() -> None:
    check_sweep(load())
    check_sweep(load("search.max_runs=4"))
    check_sweep(load("search.weight_decay=1e-4", "search.threshold_init=[-20, -5]"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search.targets=[]", r"^search\.targets: got \[\]\. Name the sparsities"),
        ("search.weight_decay=1e-4", r"^search\.weight_decay: got 0\.0001\. .*nothing to search"),
        ("search.max_runs=3", r"^search\.max_runs: got 3\. .*at least 4"),
    ],
)
def test_sweep_without_a_search_is_refused(override: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        check_sweep(load(override))


@pytest.mark.parametrize("decay", [1e-4, 0.0, 2.0**-15])
def test_single_run_takes_the_numbers_as_they_are_written(decay: float) -> None:
    experiment = load(f"search.weight_decay={decay!r}", "search.targets=[]")
    check_run(experiment)
    assert SearchPath.of(experiment.search).at(0.0) == RunSettings(
        threshold_init=-10, weight_decay=decay
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            (),
            r"^search\.weight_decay: got \[0\.004, 0\.024\].*--set search\.weight_decay=0\.004",
        ),
        (
            ("search.weight_decay=1e-4", "search.threshold_init=[-20, -5]"),
            r"^search\.threshold_init: .*--set search\.threshold_init=-20",
        ),
    ],
)
def test_single_run_with_a_range_is_refused(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        check_run(load(*overrides))

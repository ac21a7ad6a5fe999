"""What the tables of auto and of added targets are made of."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from strsweep.bench.search_growth import GrowthRow
from strsweep.bench.search_runs import RecordedRun
from strsweep.bench.search_setups import SETUPS, apart, right_weight_decay, setup_cases
from strsweep.bench.setups_table import growth_table

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"


def run(weight_decay: float, final: float) -> RecordedRun:
    return RecordedRun(weight_decay=weight_decay, sparsity=(final,), macs=(1,), accuracy=(0.9,))


def test_the_right_weight_decay_by_hand() -> None:
    runs = [run(4e-2, 0.9), run(1e-2, 0.5), run(8e-2, 0.99)]
    # logit 0.5 -> 0 and 0.9 -> ln 9: a sparsity of 0.75 (ln 3) is half way, so is its logarithm.
    assert right_weight_decay(runs, 0.75) == pytest.approx(2e-2)
    assert right_weight_decay(runs, 0.999) == pytest.approx(8e-2)
    assert right_weight_decay(runs, 0.1) == pytest.approx(1e-2)


def test_a_factor_is_the_same_both_ways() -> None:
    assert apart(2.0, 6.0) == apart(6.0, 2.0) == 3.0


def test_every_setup_changes_the_recipe_and_leaves_the_rest_to_auto(tmp_path: Path) -> None:
    cases = setup_cases(2, config=DIGITS, memo=tmp_path / "memo.jsonl")
    assert [case.seed for case in cases] == [0] * len(SETUPS) + [1] * len(SETUPS)
    experiments = [case.experiment() for case in cases]
    assert len({experiment.recipe_id for experiment in experiments}) == len(cases)
    for experiment in experiments:
        assert experiment.search.threshold_init == experiment.search.weight_decay == "auto"


def test_costs_of_added_targets_are_shown_with_their_median() -> None:
    rows = [
        GrowthRow(
            problem="digits",
            seed=seed,
            targets=(0.8, 0.99),
            cost_before=3.0,
            added=0.97,
            cost_of_added=cost,
            miss_of_added=-0.002,
            asked_again=0.95,
            cost_of_asked_again=0.0,
        )
        for seed, cost in enumerate((1.0, 1.5, 1.2))
    ]
    console = Console(width=120)
    with console.capture() as shown:
        console.print(growth_table(rows))
    assert "median cost of 97%: 1.20 runs" in shown.get()
    assert shown.get().count("0.2 points") == 3

"""The whole comparison over recorded runs of digits, as its job does it."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
RECORDED = Path(__file__).parent / "search_recorded.jsonl"
METHODS = ["ours", "bisection", "gp", "tpe", "random", "grid", "plain"]
PLACES = [("digits", 0), ("digits", 1), ("digits-deep", 0)]
EPOCHS = {"digits": 30, "digits-deep": 24}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("results")
    ran = subprocess.run(
        [sys.executable, "jobs/bench_search.py", "--replay", RECORDED],
        cwd=ROOT,
        env={**os.environ, "STRSWEEP_RESULTS": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout, folder / "bench"


def rows_of(folder: Path, method: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "search.json").read_text())
    return [row for row in rows if row["method"] == method]


def test_our_search_hits_all_at_little_more_than_a_run_each(done: tuple[str, Path]) -> None:
    ours = rows_of(done[1], "ours")
    assert [row["targets_hit"] for row in ours] == [5] * len(PLACES)
    costs = [row["cost_per_target"] for row in ours if row["problem"] == "digits"]
    assert statistics.median(costs) <= 1.6
    assert all(row["worst_miss_before_landing"] <= 0.005 for row in ours)


@pytest.mark.parametrize("method", METHODS[1:-1])
def test_it_is_cheaper_than_every_peer(done: tuple[str, Path], method: str) -> None:
    pairs = zip(rows_of(done[1], "ours"), rows_of(done[1], method), strict=True)
    assert all(ours["cost_per_target"] < peer["cost_per_target"] for ours, peer in pairs)


def test_every_method_has_a_row_per_problem_and_seed(done: tuple[str, Path]) -> None:
    for method in METHODS:
        rows = rows_of(done[1], method)
        assert [(row["problem"], row["seed"]) for row in rows] == PLACES
        for row in rows:
            assert row["targets"] == [0.8, 0.9, 0.95, 0.98, 0.99]
            assert row["epochs_full_run"] == EPOCHS[row["problem"]]
            if method != "plain":
                full_runs = row["epochs_total"] / row["epochs_full_run"]
                assert row["cost_per_target"] == pytest.approx(full_runs / 5)


def test_steered_takes_one_run_per_target_where_it_was_recorded(done: tuple[str, Path]) -> None:
    (steered,) = rows_of(done[1], "steered")
    assert (steered["cost_per_target"], steered["targets_hit"]) == (1.0, 5)
    assert steered["worst_miss_before_landing"] < 1e-5


def test_the_tables_and_the_picture_are_there(done: tuple[str, Path]) -> None:
    printed, folder = done
    for name in ("strsweep", "bisection", "Optuna GP", "Optuna TPE", "random", "grid"):
        assert printed.count(f"| digits | {name} | 2 |") == 1
        assert printed.count(f"| digits-deep | {name} | 1 |") == 1
    assert printed.count("truth inside the 90 % interval") == 1
    assert (folder / "search_cost.png").is_file()
    checks = json.loads((folder / "search_forecasts.json").read_text())
    assert {check["share"] for check in checks} == {0.33, 0.5, 0.67, 0.8}
    assert all(check["low"] <= check["forecast"] <= check["high"] for check in checks)

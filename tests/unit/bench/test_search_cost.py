"""Costs, hits and misses of a search, by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from strsweep.bench.search_cost import Delivery, Ledger, Place, Row, row, yardstick
from strsweep.bench.search_figure import draw_costs
from strsweep.bench.search_forecast import ForecastCheck, summarize_forecasts
from strsweep.bench.search_problems import TARGETS
from strsweep.bench.search_runs import Landed, RecordedRun, Runs
from strsweep.bench.search_summary import accuracy_table, cost_table, report, summarize_costs
from strsweep.config import RunSettings

PLACE = Place(problem="digits", seed=0, epochs_full_run=30)


def run_ending_at(
    final: float, accuracy: float = 0.9, *, told: float | None = None, landed: Sequence[Landed] = ()
) -> RecordedRun:
    return RecordedRun(
        weight_decay=final,
        told=told,
        sparsity=(0.0, final),
        macs=(100, 10),
        accuracy=(0.1, accuracy),
        landed=tuple(landed),
    )


class Linear(Runs):
    """Runs that end at a hundred times their weight decay, after two epochs."""

    def _find(self, settings: RunSettings) -> RecordedRun:
        return run_ending_at(100 * settings.weight_decay)


def deliveries(misses: Sequence[float], *, landed: bool = False) -> list[Delivery]:
    ends = [Landed(target=t, sparsity=t + 1e-5, accuracy=0.95) for t in TARGETS]
    return [
        Delivery(
            target=target,
            run=run_ending_at(target + miss),
            is_hit=abs(miss) <= 0.005,
            landed=end if landed else None,
        )
        for target, miss, end in zip(TARGETS, misses, ends, strict=True)
    ]


def a_row(method: str, seed: int, epochs: int, accuracy: float = 0.9) -> Row:
    found = [
        Delivery(target=target, run=run_ending_at(target, accuracy), is_hit=True)
        for target in TARGETS
    ]
    place = Place(problem="digits", seed=seed, epochs_full_run=30)
    return row(place, method, found, runs=5, epochs=epochs)


def test_cost_is_epochs_over_full_runs_per_target() -> None:
    account = row(PLACE, "ours", deliveries([0.001, 0, 0, -0.004, 0.02]), runs=7, epochs=195)
    assert account.cost_per_target == pytest.approx(1.3)  # 195 / 30 / 5
    assert account.targets_hit == 4
    assert account.worst_miss_before_landing == pytest.approx(0.02)
    assert account.worst_miss_after is None
    assert account.accuracies == account.accuracies_before_landing == (0.9,) * 5


def test_landing_is_told_beside_what_was_before() -> None:
    account = row(
        PLACE, "ours", deliveries([0.001, 0, 0, 0, -0.003], landed=True), runs=5, epochs=150
    )
    assert account.cost_per_target == 1.0
    assert account.worst_miss_before_landing == pytest.approx(0.003)
    assert account.worst_miss_after == pytest.approx(1e-5)
    assert (account.accuracies[0], account.accuracies_before_landing[0]) == (0.95, 0.9)


def test_a_repeated_setting_is_free() -> None:
    ledger = Ledger(Linear(), threshold_init=-10)
    assert ledger.train(0.009) == pytest.approx(0.9)
    ledger.train(0.00900000001)  # the same to six digits
    assert (len(ledger.trained), ledger.epochs) == (1, 2)
    ledger.train(0.0098)
    assert ledger.epochs == 4
    assert ledger.open_targets == [0.8, 0.95, 0.99]
    assert [d.run.final for d in ledger.deliveries()] == pytest.approx([0.9, 0.9, 0.98, 0.98, 0.98])
    assert [d.is_hit for d in ledger.deliveries()] == [False, True, False, True, False]


def test_a_hit_is_within_the_tolerance() -> None:
    ledger = Ledger(Linear(), threshold_init=-10)
    ledger.train(0.009049)
    assert ledger.is_hit(0.90)
    assert not ledger.is_hit(0.80)


def test_yardstick_is_the_mean_of_plain_runs_near_a_target() -> None:
    trained = [
        run_ending_at(0.796, 0.98),
        run_ending_at(0.804, 0.96),
        run_ending_at(0.81, 0.5),
        run_ending_at(0.9, 0.5, told=0.9),
    ]
    plain = yardstick(PLACE, trained)
    assert plain.accuracies == (pytest.approx(0.97), None, None, None, None)
    assert (plain.runs, plain.targets_hit, plain.cost_per_target) == (2, 1, None)


def test_row_survives_json() -> None:
    for account in (a_row("ours", 0, 150), yardstick(PLACE, [])):
        read = json.loads(json.dumps(asdict(account)))
        assert list(read) == [
            "problem",
            "method",
            "seed",
            "targets",
            "runs",
            "epochs_total",
            "epochs_full_run",
            "cost_per_target",
            "targets_hit",
            "worst_miss_before_landing",
            "worst_miss_after",
            "accuracies_before_landing",
            "accuracies",
        ]
        assert len(read["targets"]) == len(read["accuracies"]) == 5
        lists = {name: tuple(read[name]) for name in read if isinstance(read[name], list)}
        assert Row(**{**read, **lists}) == account


def test_median_quartiles_and_extremes() -> None:
    rows = [a_row("ours", seed, 150 + 15 * seed) for seed in range(5)]
    (cost,) = summarize_costs([*rows, yardstick(PLACE, [])])
    assert cost.costs == pytest.approx((1.0, 1.1, 1.2, 1.3, 1.4))
    assert (cost.median, cost.quartiles) == (pytest.approx(1.2), pytest.approx((1.1, 1.3)))
    assert (cost.hits, cost.wanted) == (25, 25)
    line = list(cost_table([cost]))[2]
    assert line == (
        "| digits | strsweep | 5 | 1.20 | 1.10 to 1.30 | 1.00 to 1.40 | 25 of 25 | 0 points | - |"
    )


def test_accuracies_have_mean_and_spread_over_the_seeds() -> None:
    rows = [a_row("ours", 0, 150, 0.90), a_row("ours", 1, 150, 0.94), a_row("steered", 0, 150, 0.9)]
    line = list(accuracy_table(rows))[2]
    assert line == "| digits | 80% | 92.00% ± 2.83 | - | 90.00% | - |"


def test_forecasts_are_summed_up_by_hand() -> None:
    checks = [
        ForecastCheck(share=0.5, runs_known=1, forecast=0.90, low=0.89, high=0.91, truth=0.93),
        ForecastCheck(share=0.5, runs_known=2, forecast=0.90, low=0.85, high=0.95, truth=0.94),
        ForecastCheck(share=0.33, runs_known=1, forecast=0.5, low=0.4, high=0.6, truth=0.5),
    ]
    first, second = summarize_forecasts(checks)
    assert (first.share, first.forecasts, first.rms_points, first.covered) == (0.33, 1, 0.0, 1.0)
    assert second.rms_points == pytest.approx(100 * ((0.03**2 + 0.04**2) / 2) ** 0.5)
    assert second.covered == 0.5


def test_report_and_picture_show_every_search(tmp_path: Path) -> None:
    rows = [a_row("ours", 0, 150), a_row("bisection", 0, 300), yardstick(PLACE, [])]
    text = "\n".join(report(rows, []))
    assert text.count("| digits | strsweep |") == text.count("| digits | bisection |") == 1
    draw_costs(tmp_path / "figures" / "cost.png", summarize_costs(rows))
    assert (tmp_path / "figures" / "cost.png").read_bytes().startswith(b"\x89PNG")

"""The benchmarks compare like with like; how long things take is for them to print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from strsweep.bench.methods import Case, Outcome, compare_methods, train
from strsweep.bench.methods_found import FoundOutcomes
from strsweep.bench.searched import search_each
from strsweep.bench.step import AuthorsFormula, Setting, measure_steps, table
from strsweep.bench.summary import markdown, summarize, winners
from strsweep.config import Experiment, load_experiment
from strsweep.sparsity import SoftThreshold

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"


def test_both_formulas_are_the_same_function() -> None:
    torch.manual_seed(0)
    weight, upstream = torch.randn(8, 4, 3, 3), torch.randn(8, 4, 3, 3)
    theirs = AuthorsFormula()
    ours = SoftThreshold(theirs.s.item())
    for step in (theirs, ours):
        step(weight).backward(upstream)
    torch.testing.assert_close(ours(weight), theirs(weight))
    assert ours.s.grad is not None
    assert theirs.s.grad is not None
    torch.testing.assert_close(ours.s.grad, theirs.s.grad.squeeze())


def test_every_variant_is_timed_beside_the_dense_one() -> None:
    setting = Setting(model="resnet20", batch_size=2, image_size=8, device="cpu", compiled=False)
    costs = measure_steps(setting, rounds=3, steps=1)
    variants = ["dense", "str", "authors", "steered"]
    assert [cost.variant for cost in costs] == variants
    assert (costs[0].ratio, costs[0].ratio_range) == (1.0, (1.0, 1.0))
    for cost in costs:
        assert cost.ratio_range[0] <= cost.ratio <= cost.ratio_range[1]
        assert cost.images_per_second == pytest.approx(2 / cost.seconds)
    assert [line.split()[2] for line in table(costs).splitlines()[1:]] == variants


def experiment(*overrides: str) -> Experiment:
    return load_experiment(DIGITS, ["search.max_runs=12", *overrides])


def case(*targets: float, epochs: int, learned_budgets: bool = False) -> Case:
    return Case(
        epochs=epochs,
        seed=0,
        targets=targets,
        weight_decay=5e-4,
        with_learned_budgets=learned_budgets,
    )


def test_every_method_is_trained_to_the_target() -> None:
    searched = experiment("search.weight_decay=[3e-2, 0.4]", "search.tolerance=0.1")
    found = compare_methods(searched, case(0.6, epochs=3, learned_budgets=True))
    by_name = {outcome.method: outcome for outcome in found}
    assert [*by_name] == [
        "steered",
        "steered, straight-through",
        "scheduled (ST-3)",
        "GMP, uniform",
        "GMP, erk",
        "DNW, uniform",
        "DNW, erk",
        "STR",
        "GMP, STR",
        "DNW, STR",
    ]
    assert len(found) == len(by_name)
    for name, outcome in by_name.items():
        exactly = 0.1 if name in {"GMP, STR", "DNW, STR"} else 1e-4
        assert outcome.sparsity == pytest.approx(0.6, abs=exactly)
        assert (outcome.target, outcome.epochs, outcome.seed) == (0.6, 3, 0)
        if "STR" not in name:
            assert outcome.epochs_spent == 3
    spent = by_name["STR"].epochs_spent
    assert 3 <= spent <= 12 * 3
    for name in ("GMP, STR", "DNW, STR"):
        assert by_name[name].macs == pytest.approx(by_name["STR"].macs, rel=1e-3)
        assert by_name[name].epochs_spent == spent + 3


def test_str_is_searched_for_all_targets_together_and_landed() -> None:
    wide = experiment(
        "training.epochs=5", "search.weight_decay=[1e-2, 0.3]", "search.tolerance=0.1"
    )
    found = [*search_each(wide, [0.5, 0.8], train)]
    assert [searched.target for searched in found] == [0.5, 0.8]
    for searched in found:
        assert searched.report.sparsity == pytest.approx(searched.target, abs=2e-5)
        assert searched.accuracy > 0.3
    (spent,) = {searched.epochs_spent for searched in found}
    assert 2.5 <= spent <= 12 * 5 / 2


def test_a_target_that_str_misses_is_told(caplog: pytest.LogCaptureFixture) -> None:
    narrow = experiment("training.epochs=2", "search.weight_decay=[1e-3, 2e-3]")
    assert [*search_each(narrow, [0.99], train)] == []
    assert re.search(r"not hit 0\.99: its nearest run has 0\.\d\d%", caplog.text)


def outcomes(method: str, *values: tuple[float, int]) -> list[Outcome]:
    return [
        Outcome(
            epochs=30,
            target=0.9,
            seed=seed,
            method=method,
            sparsity=0.9,
            accuracy=accuracy,
            macs=macs,
            dense_macs=100,
            epochs_spent=30,
        )
        for seed, (accuracy, macs) in enumerate(values)
    ]


def test_mean_and_spread_by_hand() -> None:
    (summary,) = summarize(outcomes("STR", (0.9, 10), (0.94, 14)))
    assert summary.seeds == 2
    assert (summary.accuracy, summary.macs_share) == pytest.approx((0.92, 0.12))
    assert summary.accuracy_spread == pytest.approx(0.04 / 2**0.5)
    assert summary.macs_share_spread == pytest.approx(0.04 / 2**0.5)


@pytest.mark.parametrize(
    ("second", "sure"),
    [((0.93, 0.94), "within the spread"), ((0.90, 0.90), "more than the spread")],
)
def test_the_best_is_named_and_how_sure_that_is(second: tuple[float, float], sure: str) -> None:
    found = [
        *outcomes("STR", (second[0], 10), (second[1], 10)),
        *outcomes("steered", (0.935, 10), (0.945, 10)),  # 0.94 +- 0.007
        *outcomes("GMP", (0.5, 10), (0.5, 10)),
    ]
    lines = [*markdown(summarize(found))]
    assert lines[2:5] == [
        f"| 30 | 90.00% | STR | 2 | {sum(second) / 2:.2%} ± {'0.71' if 0.94 in second else '0.00'} "
        "| 10.00% ± 0.00 | 30 |",
        "| 30 | 90.00% | steered | 2 | 94.00% ± 0.71 | 10.00% ± 0.00 | 30 |",
        "| 30 | 90.00% | GMP | 2 | 50.00% ± 0.00 | 10.00% ± 0.00 | 30 |",
    ]
    lead = 94 - 50 * sum(second)
    assert lines[-1] == f"30 epochs, 90 %: best is steered, by {lead:.2f} points, {sure}"


def test_one_method_alone_has_no_winner() -> None:
    assert winners(summarize(outcomes("STR", (0.9, 10), (0.94, 14)))) == []


def test_who_misses_a_target_with_one_seed_is_not_the_best() -> None:
    found = [
        *outcomes("STR", (0.99, 10)),
        *outcomes("steered", (0.9, 10), (0.92, 10)),
        *outcomes("GMP", (0.5, 10), (0.6, 10)),
    ]
    assert [best.method for best in winners(summarize(found))] == ["steered"]
    assert "| 30 | 90.00% | STR | 1 | 99.00% ± nan |" in "".join(markdown(summarize(found)))


def test_cases_already_trained_are_read_and_those_of_another_recipe_are_not(tmp_path: Path) -> None:
    path, digits = tmp_path / "bench" / "methods.jsonl", experiment()
    first, second = case(0.9, epochs=3), case(0.9, 0.95, epochs=3)
    FoundOutcomes(path, digits).add(first, outcomes("STR", (0.9, 10), (0.94, 14)))
    again = FoundOutcomes(path, digits)
    assert again.of(first) == outcomes("STR", (0.9, 10), (0.94, 14))
    assert again.of(second) is None
    other = FoundOutcomes(path, experiment("training.batch_size=7"))
    assert other.of(first) is None

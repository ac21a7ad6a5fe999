"""The benchmarks compare like with like; how long things take is for them to print."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from strsweep.bench.methods import Outcome, compare_methods, summarize
from strsweep.bench.step import AuthorsFormula, Setting, measure_steps, table
from strsweep.config import load_experiment
from strsweep.errors import EveryRunFailedError
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
    assert [cost.variant for cost in costs] == ["dense", "str", "authors"]
    assert (costs[0].ratio, costs[0].ratio_range) == (1.0, (1.0, 1.0))
    for cost in costs:
        assert cost.ratio_range[0] <= cost.ratio <= cost.ratio_range[1]
        assert cost.images_per_second == pytest.approx(2 / cost.seconds)
    assert [line.split()[2] for line in table(costs).splitlines()[1:]] == [
        "dense",
        "str",
        "authors",
    ]


def test_all_methods_get_the_sparsity_that_str_reached() -> None:
    overrides = ["training.epochs=4", "search.targets=[0.6]", "search.tolerance=0.3"]
    experiment = load_experiment(DIGITS, [*overrides, "search.weight_decay=[1e-2, 2e-1]"])
    found = compare_methods(experiment, seed=0, weight_decay=5e-4)
    assert [(o.method, o.budget) for o in found[:2]] == [("str", "learned"), ("steered", "learned")]
    assert len(found) == 8
    for outcome in found:
        assert outcome.sparsity == pytest.approx(found[0].sparsity, abs=2e-4)
    macs = {(o.method, o.budget): o.macs for o in found}
    assert macs["gmp", "STR"] == macs["dnw", "STR"] == found[0].macs


def test_a_target_that_str_misses_is_told() -> None:
    overrides = ["training.epochs=1", "search.targets=[0.9]", "search.max_runs=2"]
    with pytest.raises(EveryRunFailedError, match=r"STR does not reach 0\.9: "):
        compare_methods(load_experiment(DIGITS, overrides), seed=0, weight_decay=5e-4)


def test_mean_and_spread_by_hand() -> None:
    found = [
        Outcome(
            target=0.9,
            seed=seed,
            method="str",
            budget="learned",
            sparsity=0.9,
            accuracy=accuracy,
            macs=macs,
            dense_macs=100,
        )
        for seed, accuracy, macs in ((0, 0.9, 10), (1, 0.94, 14))
    ]
    (summary,) = summarize(found)
    assert summary.seeds == 2
    assert (summary.accuracy, summary.macs_share) == pytest.approx((0.92, 0.12))
    assert summary.accuracy_spread == pytest.approx(0.04 / 2**0.5)
    assert summary.macs_share_spread == pytest.approx(0.04 / 2**0.5)

"""The steps that are timed are the ones meant; how long they take is for the program to print."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from benchmarks.step import (
    VARIANTS,
    AuthorsFormula,
    Device,
    Mode,
    Setting,
    cost_of,
    main,
    measure_steps,
    table,
    with_thresholds,
)

from strsweep.models import build
from strsweep.sparsity.measure import measure
from strsweep.sparsity.steering import steer
from strsweep.sparsity.threshold import SoftThreshold

SETTING = Setting(model="resnet20", batch_size=2, image_size=8, device="cpu", compiled=False)


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


def test_each_variant_prunes_what_its_name_says() -> None:
    torch.manual_seed(0)
    images, dense = torch.randn(2, 3, 8, 8), build("resnet20", num_classes=10).eval()
    outputs: dict[str, torch.Tensor] = {}
    for variant in VARIANTS:
        torch.manual_seed(0)
        torch.randn(2, 3, 8, 8)
        model = with_thresholds(build("resnet20", num_classes=10), variant).eval()
        if variant == "steered":
            steer(model, 0.9)
            assert measure(model).sparsity == pytest.approx(0.9, abs=1e-3)
        outputs[variant] = model(images)
    assert torch.equal(outputs["dense"], dense(images))
    assert torch.equal(outputs["waiting"], outputs["dense"])
    torch.testing.assert_close(outputs["authors"], outputs["str"])
    assert not torch.allclose(outputs["str"], outputs["dense"])
    assert not torch.allclose(outputs["steered"], outputs["str"])


def test_every_variant_is_timed_beside_the_dense_one() -> None:
    costs = measure_steps(SETTING, rounds=3, steps=1)
    assert [cost.variant for cost in costs] == [*VARIANTS]
    assert (costs[0].ratio, costs[0].ratio_range) == (1.0, (1.0, 1.0))
    for cost in costs:
        assert cost.ratio_range[0] <= cost.ratio <= cost.ratio_range[1]
    assert [line.split()[2] for line in table(costs).splitlines()[1:]] == [*VARIANTS]


def test_ratios_are_taken_within_a_round() -> None:
    # The machine was twice as slow in the second round: the ratio of medians would be 1.5.
    seconds = {"dense": [0.1, 0.2, 0.1], "str": [0.15, 0.22, 0.11]}
    cost = cost_of(SETTING, "str", seconds)
    assert (cost.seconds, cost.ratio) == pytest.approx((0.15, 1.1))
    assert cost.ratio_range == pytest.approx((1.1, 1.5))
    assert cost.images_per_second == pytest.approx(2 / 0.15)


@pytest.mark.slow
def test_the_program_writes_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STRSWEEP_RESULTS", str(tmp_path))
    main(device=Device.cpu, models=["resnet20"], modes=[Mode.eager], rounds=2, steps=1)
    rows = json.loads((tmp_path / "bench" / "step.json").read_text())
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("batch 16, 64x64, ")
    assert [row["variant"] for row in rows] == [line.split()[2] for line in printed[2:-1]]
    assert all(
        f"{row['seconds'] * 1e3:.1f}" in line.split()
        for row, line in zip(rows, printed[2:-1], strict=True)
    )

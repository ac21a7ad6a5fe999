"""The table and the picture at the end of a job: asked, delivered, and how it was before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from strsweep.config import RunSettings, Target, load_experiment
from strsweep.registry.delivery import Delivered, Delivery
from strsweep.registry.front import front_png
from strsweep.registry.receipt import LandedFrom, Receipt
from strsweep.registry.receipt_table import print_delivery
from strsweep.registry.registered_model import Alias
from strsweep.sweep.outcome import TargetOutcome
from strsweep.sweep.state import FinishedRun

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
RUN = FinishedRun(run_id="run-001", position=0.5, sparsity=0.9531, accuracy=0.98)


def receipt(target: Target | None, *, landed: bool) -> Receipt:
    before = LandedFrom(
        shift=-0.02, sparsity_before=0.9531, macs_before=26_000, accuracy_before=0.98
    )
    return Receipt(
        target=target,
        sparsity=0.95,
        zeros=9_500,
        weights=10_000,
        macs=25_000,
        dense_macs=500_000,
        accuracy=0.9812,
        landed=before if landed else None,
        mode="str",
        settings=RunSettings(threshold_init=-10.0, weight_decay=0.01),
        sweep_id="digits-1",
        run_id="run-001",
        weights_sha256="0",
    )


def model(target: Target | None, *, landed: bool) -> Delivered:
    state: Any = None
    if target is not None:
        state = TargetOutcome(target=target, run=RUN, closest=RUN, miss=0.0031, advice="")
    return Delivered(outcome=state, receipt=receipt(target, landed=landed), version="3")


def printed(capsys: pytest.CaptureFixture[str], *models: Delivered) -> list[list[str]]:
    print_delivery(load_experiment(DIGITS), Delivery(models=models, is_behind=False))
    lines = capsys.readouterr().out.splitlines()
    table = lines[: next(i for i, line in enumerate(lines) if line.startswith("models,"))]
    assert max(map(len, table)) <= 110
    return [" ".join(line.split()).split(" ") for line in table]


def test_the_table_says_asked_trained_and_delivered(capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed(
        capsys,
        model(Target(sparsity=0.95), landed=True),
        model(Target(macs=0.05), landed=True),
        model(Target(sparsity=0.951), landed=False),
        model(None, landed=False),
    )
    shown = [" ".join(row) for row in rows]
    same = "95.00 % 98.12 % 25,000 5.0 % run-001 digits v3"
    assert f"95 % 95.31 % {same} @sparsity-95" in shown
    assert f"5 % MACs 5.20 % MACs {same} @macs-5" in shown
    assert f"95.1 % {same} @sparsity-95-1" in shown
    assert f"- {same}" in shown


def test_a_missed_target_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    state = TargetOutcome(
        target=Target(macs=0.05), run=None, closest=None, miss=None, advice="do this"
    )
    missed = Delivered(outcome=state, receipt=None, version=None)
    print_delivery(load_experiment(DIGITS), Delivery(models=(missed,), is_behind=True))
    output = capsys.readouterr().out
    assert "5 % MACs missed: do this" in output
    assert "run jobs/publish.py with the same settings" in output


def test_an_alias_that_stays_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    alias = Alias(version="2", reason="v2 has 98.50 % accuracy, v3 98.12 %")
    stays = replace(model(Target(sparsity=0.95), landed=True), alias=alias)
    print_delivery(load_experiment(DIGITS), Delivery(models=(stays,), is_behind=False))
    output = capsys.readouterr().out
    assert "@sparsity-95 stays at digits v2: v2 has 98.50 % accuracy, v3 98.12 %" in output
    assert "digits v3 @" not in output


@pytest.mark.parametrize(
    "targets",
    [(Target(sparsity=0.95), Target(macs=0.05)), (Target(macs=0.05),)],
    ids=["both", "macs"],
)
def test_the_picture_has_a_line_per_sparsity(
    targets: tuple[Target, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    figures: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
    delivered = [receipt(targets[0], landed=True), receipt(targets[-1], landed=False)]
    front_png([RUN], delivered, targets)
    axes: Axes = figures[0].axes[0]
    in_sparsity = [target for target in targets if target.sparsity is not None]
    assert len(axes.lines) == len(in_sparsity)
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["delivered", "delivered, landed"]
    assert [text.get_text() for text in axes.texts] == ["98.12 %", "98.12 %"]

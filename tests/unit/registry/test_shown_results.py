"""The table at the end of a job: asked, delivered, and how it was before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from samples import ACCURACY, DIGITS, LATE, LEAN, NINETY_FIVE, receipt

from strsweep.config import load_experiment
from strsweep.registry.delivery import Delivered, Delivery, print_delivery
from strsweep.registry.registered_model import Alias
from strsweep.search.outcome import TargetOutcome
from strsweep.search.runs import Run, Status
from strsweep.settings import Target

RUN = Run(
    run_id="run-001",
    settings=LATE,
    target=NINETY_FIVE,
    status=Status.FINISHED,
    sparsity=0.9531,
    score=0.98,
)


def model(target: Target | None, *, landed: bool) -> Delivered:
    state: Any = None
    if target is not None:
        state = TargetOutcome(target=target, run=RUN, closest=RUN, miss=0.0031, advice="")
    shown = receipt(target) if landed else receipt(target, landed=None)
    return Delivered(outcome=state, receipt=shown, version="3")


def printed(
    capsys: pytest.CaptureFixture[str],
    *models: Delivered,
    dense: float | None = None,
    config: Path = DIGITS,
) -> tuple[list[str], list[str]]:
    """Return the lines of the table, which must not wrap, and those below it."""
    delivery = Delivery(models=models, is_behind=False, metric=ACCURACY, dense_score=dense)
    print_delivery(load_experiment(config), delivery)
    title, head, _, *lines = capsys.readouterr().out.splitlines()
    assert title.startswith(("delivered (str, ", "delivered (lowrank, "))
    table = [head, *lines[: len(models)]]
    assert max(map(len, table)) <= 110
    shown = [" ".join(line.split()) for line in table]
    assert all(
        f" {each.receipt.run_id} " in row
        for each, row in zip(models, shown[1:], strict=True)
        if each.receipt
    ), "no row is wrapped"
    assert lines[len(models)] == ""
    return shown, lines[len(models) + 1 :]


def test_the_table_says_target_state_and_delivered(capsys: pytest.CaptureFixture[str]) -> None:
    shown, below = printed(
        capsys,
        model(NINETY_FIVE, landed=True),
        model(LEAN, landed=True),
        model(Target(sparsity=0.951), landed=False),
        model(None, landed=False),
    )
    assert "vs dense" not in shown[0]
    assert below[0].startswith("Every model has exactly what its target asks for")
    same = "98.12 % 95.00 % 25,000 5.00 % run-001 digits v3"
    assert f"95 % landed {same} @sparsity-95" in shown
    assert f"5 % MACs landed {same} @macs-5" in shown
    assert f"95.1 % as trained {same} @sparsity-95-1" in shown
    assert f"- as trained {same}" in shown


@pytest.mark.parametrize(
    ("dense", "points", "words"),
    [
        (0.9762, "+0.50", "0.50 points above dense"),
        (0.9837, "-0.25", "0.25 points below dense"),
        (0.98120001, "+0.00", "as good as dense"),
    ],
)
def test_the_accuracy_beside_that_of_the_dense_network(
    dense: float, points: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    delivered = model(NINETY_FIVE, landed=True)
    (head, row), below = printed(capsys, delivered, dense=dense)
    assert "accuracy vs dense sparsity MACs" in head
    assert f"98.12 % {points} 95.00 % 25,000" in row
    assert f"dense network, same recipe: accuracy {100 * dense:.2f} %" in below
    assert not any("longer training" in line for line in below)
    assert ACCURACY.against(0.9812, dense) == words


def test_what_is_far_below_dense_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    far, near = model(Target(sparsity=0.99), landed=True), model(Target(sparsity=0.9), landed=True)
    near = replace(near, receipt=near.receipt and near.receipt.model_copy(update={"score": 0.99}))
    _, below = printed(capsys, far, near, dense=1.0)
    assert "99 % is 1.88 points below dense" not in "\n".join(below), (
        "less than three points are common"
    )
    _, below = printed(capsys, far, near, dense=1.0122)
    assert (
        "99 % is 3.10 points below dense: try another sparsity.mode, or longer training "
        "(training.epochs)"
    ) in below


SWEEPS = [p for p in DIGITS.parent.glob("*.yaml") if load_experiment(p).search.targets]


@pytest.mark.parametrize("path", sorted(SWEEPS), ids=lambda path: path.stem)
def test_the_rows_of_every_shipped_sweep_fit_a_line(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = load_experiment(path)
    large = {"dense_macs": 4_089_184_256, "macs": 817_836_851, "run_id": "run-123"}
    models = [
        replace(delivered, receipt=delivered.receipt and delivered.receipt.model_copy(update=large))
        for delivered in (model(target, landed=True) for target in experiment.search.targets)
    ]
    has_dense = experiment.search.decay == "own"
    shown, _ = printed(capsys, *models, dense=0.77 if has_dense else None, config=path)
    name = experiment.model_name
    for row, target in zip(shown[1:], experiment.search.targets, strict=True):
        assert row.endswith(f"817.8 M 20.00 % run-123 {name} v3 @{target.label}")


def test_nothing_is_said_of_shifts_where_nothing_was_shifted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, below = printed(capsys, model(None, landed=False))
    assert not any("thresholds are shifted" in line for line in below)


def test_a_missed_target_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    state = TargetOutcome(target=LEAN, run=None, closest=None, miss=None, advice="do this")
    missed = Delivered(outcome=state, receipt=None, version=None)
    delivery = Delivery(models=(missed,), is_behind=True, metric=ACCURACY)
    print_delivery(load_experiment(DIGITS), delivery)
    output = capsys.readouterr().out
    assert "5 % MACs missed: do this" in output
    assert "run `strsweep publish` with the same settings" in output


def test_an_alias_that_stays_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    alias = Alias(version="2", reason="v2 has 98.50 % accuracy, v3 98.12 %")
    stays = replace(model(NINETY_FIVE, landed=True), alias=alias)
    (_, row), below = printed(capsys, stays)
    assert "@sparsity-95 stays at digits v2: v2 has 98.50 % accuracy, v3 98.12 %" in below
    assert row.endswith("digits v3")

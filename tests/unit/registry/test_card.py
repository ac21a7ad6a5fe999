"""The model card says what was asked, what the file holds, what it cost, and how to use it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from strsweep.config import Experiment, Problem, load_experiment
from strsweep.journal import EpochFinished, RunProposed, SweepRecord, SweepStarted, replay
from strsweep.registry.delivery import Delivered
from strsweep.registry.notes import delivered_note, model_card
from strsweep.registry.receipt import LandedFrom, Receipt
from strsweep.search.outcome import TargetOutcome
from strsweep.settings import Fork, Lead, Metric, RunSettings, Target

DIGITS = Path(__file__).parents[3] / "jobs/configs/digits.yaml"
METHOD = "str, own threshold decay, led to the target"
SETTINGS = RunSettings(threshold_init=-10.0, weight_decay=5e-4, threshold_decay=0.0123)
LEAD = Lead(quantity="sparsity", pruned=0.95, exposure_at_90=0.7, delay=0.4)
ACCURACY = Metric(name="accuracy")
PROBLEM = Problem(
    steps_per_epoch=11, weights=10_000, dense_macs=500_000, weight_scale=0.02, metric=ACCURACY
)
TARGET = Target(sparsity=0.95)


def record() -> SweepRecord:
    """Two runs of three epochs; an epoch takes half an hour, and one was trained twice."""
    events: list[Any] = [SweepStarted(experiment={}, version="0.2.7", problem=PROBLEM)]
    for run_id in ("run-001", "run-002"):
        events.append(RunProposed(run_id=run_id, settings=SETTINGS, target=None, reason="a test"))
        events += [
            EpochFinished(
                run_id=run_id,
                metrics={"epoch": epoch, "seconds": 1800.0, "threshold_decay": decay},
            )
            for epoch, decay in ((1, 0.0), (2, 0.01), (2, 0.01), (3, 0.02))
        ]
    return replay(events)


def receipt(target: Target | None = TARGET, *, mode: str = "str") -> Receipt:
    return Receipt(
        target=target,
        sparsity=0.95,
        zeros=9_500,
        weights=10_000,
        macs=25_000,
        dense_macs=500_000,
        metric=ACCURACY,
        model_options={},
        score=0.9812,
        landed=LandedFrom(
            shift=-0.02, sparsity_before=0.9531, macs_before=26_000, score_before=0.983
        ),
        mode=mode,
        method=METHOD if mode == "str" else mode,
        settings=SETTINGS,
        sweep_id="digits-1",
        run_id="run-001",
        weights_sha256="ab" * 32,
    )


def card(given: Receipt | None = None, *overrides: str) -> str:
    experiment: Experiment = load_experiment(DIGITS, list(overrides))
    known = record()
    return model_card(given or receipt(), known.runs["run-001"], known, experiment)


def test_it_says_what_was_asked_and_what_the_file_holds() -> None:
    text = card()
    assert "**Asked for:** 95 % of the weights zero." in text
    assert "accuracy 98.12 %" in text
    assert "| zeros | 9,500 of 10,000 convolution and linear weights |" in text
    assert "| multiply-adds of one input | 25,000 of 500,000 |" in text
    assert "ab" * 32 in text
    assert "threshold_init -10.0, weight_decay 0.0005, threshold_decay 0.0123" in text
    assert f"(Kusupati et al., ICML 2020); {METHOD}." in text
    assert "strsweep 0.2.7" in text
    assert "**Asked for:** 5 % MACs left." in card(receipt(Target(macs=0.05)))


def test_it_says_what_it_cost() -> None:
    # Four epochs of half an hour each; two such runs.
    assert "This run: 4 epochs, 2.0 h." in card()
    assert "2 runs, 8 epochs, 4.0 h of training" in card()
    assert "Trained as run-001 of digits-1" in card()


def test_it_says_how_it_was_landed_and_what_that_took() -> None:
    text = card()
    assert "training ended at 95.31 % sparsity and 98.30 % accuracy" in text
    assert "shifted by -0.02" in text
    assert "Landing changed the accuracy by -0.18." in text
    assert "Landing: none" in card(receipt().model_copy(update={"landed": None}))


@pytest.mark.parametrize(
    ("dense", "words"),
    [
        (None, "accuracy 98.12 %."),
        (0.9837, "accuracy 98.12 %, 0.25 points below dense."),
        (0.9762, "accuracy 98.12 %, 0.50 points above dense."),
    ],
)
def test_it_says_how_far_it_is_from_the_dense_network(dense: float | None, words: str) -> None:
    assert words in card(receipt().model_copy(update={"dense_score": dense}))


def test_it_says_how_the_run_led_itself_and_what_it_shared() -> None:
    changes = {"lead": LEAD, "onset": 1, "fork": Fork(folder="runs/run-001/x", epoch=1)}
    text = card(receipt().model_copy(update={"settings": SETTINGS.model_copy(update=changes)}))
    assert "epoch by epoch to end at the target: between 0.01 and 0.02." in text
    assert "Its first 1 epochs are shared with other runs." in text
    for word in ("epoch by epoch", "shared with"):
        assert word not in card()


@pytest.mark.parametrize(
    ("mode", "label", "overrides"),
    [
        ("str", "STR: thresholds learned", ()),
        ("steered", "not plain STR", ("sparsity.mode=steered",)),
        ("gmp", "not STR", ("sparsity={mode: gmp, budget: erk}", "search.weight_decay=1")),
    ],
)
def test_nothing_is_called_str_that_is_not(
    mode: str, label: str, overrides: tuple[str, ...]
) -> None:
    text = card(receipt(mode=mode), *overrides)
    assert label in text
    assert "threshold decay, led" not in text or mode == "str"


def test_it_says_how_to_load_it() -> None:
    assert 'mlflow.pytorch.load_model("models:/digits@sparsity-95")' in card()
    assert "models:/digits/VERSION" in card(receipt(None))


def test_it_fits_into_the_database() -> None:
    layers = {f"layer{number}.with.a.long.name": 0.5 for number in range(400)}
    budget = ",".join(f"{name}: {density}" for name, density in layers.items())
    text = card(None, "sparsity.mode=gmp", f"sparsity.budget={{{budget}}}", "search.weight_decay=1")
    assert len(text) < 5000
    assert "load_model" in text


@pytest.mark.parametrize("is_server", [True, False])
def test_the_note_of_a_sweep_says_what_was_delivered(is_server: bool) -> None:
    uri = "http://mlflow:5000/" if is_server else "sqlite:///mlflow.db"
    experiment = load_experiment(DIGITS, [f"tracking.uri={uri}"])
    missed = TargetOutcome(target=Target(macs=0.05), run=None, closest=None, miss=None, advice="")
    known = receipt(None).model_copy(update={"dense_score": 0.9837})
    models = [
        Delivered(outcome=None, receipt=known, version="3"),
        Delivered(outcome=None, receipt=receipt(None), version=None),
        Delivered(outcome=missed, receipt=None, version=None),
    ]
    text = delivered_note(experiment, record(), models, ("experiments", "7", "runs", "ab"))
    server = "http://mlflow:5000" if is_server else ""  # links stay on the server that shows them
    tail = "?workflowType=machine_learning"
    link = f"[digits v3]({server}/#/models/digits/versions/3{tail})"
    row = "| - | 95.00 % | 98.12 %{} | 5.0 % | run-001 | {} |"
    assert text.splitlines()[1:] == [
        "",
        "| target | sparsity | accuracy | MACs left | run | version |",
        "|---|--:|--:|--:|---|---|",
        row.format(", 0.25 points below dense", link),
        row.format("", "not yet"),
        "| 5 % MACs | missed | | | | |",
        "",
        "It cost 2 runs, 8 epochs, 4.00 hours of training.",
        "",
        f"[The whole report]({server}/#/experiments/7/runs/ab{tail})",
    ]
    assert "report" not in delivered_note(experiment, record(), models, ())

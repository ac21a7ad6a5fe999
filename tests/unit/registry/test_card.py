"""The model card says what was asked, what the file holds, what it cost, and how to use it."""

from __future__ import annotations

import pytest
from samples import LATE, LEAN, METHOD, epoch, load, proposed, receipt, started

from strsweep.journal import SweepRecord, replay
from strsweep.packages.receipt import Receipt
from strsweep.registry.delivery import Delivered
from strsweep.registry.notes import delivered_note, model_card
from strsweep.search.outcome import TargetOutcome
from strsweep.settings import Fork, Lead

LEAD = Lead(quantity="sparsity", pruned=0.95, exposure_at_90=0.7, delay=0.4)


def record() -> SweepRecord:
    """Two runs of three epochs; an epoch takes half an hour, and one was trained twice."""
    runs = ("run-001", "run-002")
    epochs = [
        epoch(number, run_id, seconds=1800.0, threshold_decay=decay)
        for run_id in runs
        for number, decay in ((1, 0.0), (2, 0.01), (2, 0.01), (3, 0.02))
    ]
    return replay([started(), *map(proposed, runs), *epochs])


def card(given: Receipt | None = None, *overrides: str, form: str = "program") -> str:
    experiment, known = load(*overrides), record()
    return model_card(given or receipt(), known.runs["run-001"], known, experiment, form)


def test_it_says_what_was_asked_what_the_file_holds_what_it_cost_and_how_to_load_it() -> None:
    text = card()
    for words in (
        "**Asked for:** 95 % of the weights zero.",
        "accuracy 98.12 %",
        "| zeros | 9,500 of 10,000 convolution and linear weights |",
        "| multiply-adds of one input | 25,000 of 500,000 |",
        "ab" * 32,
        "threshold_init -10.0, weight_decay 0.0005, threshold_decay 0.02",
        f"(Kusupati et al., ICML 2020); {METHOD}.",
        "strsweep 0.2.7",
        "This run: 4 epochs, 2.0\u00a0h.",  # of half an hour each
        "2 runs, 8 epochs, 4.0\u00a0h of training",
        "Trained as run-001 of digits-1",
        "training ended at 95.31 % sparsity and 98.30 % accuracy",
        "shifted by -0.02",
        "Landing changed the accuracy by -0.18.",
        'mlflow.pytorch.load_model("models:/digits@sparsity-95")',
    ):
        assert words in text
    assert "**Asked for:** 5 % MACs left." in card(receipt(LEAN))
    assert "Landing: none" in card(receipt(landed=None))
    assert "models:/digits/VERSION" in card(receipt(None))


def test_it_says_how_to_load_what_is_no_program() -> None:
    assert "is an exported program (pt2). Beside it, in `extra_files`" in card()
    assert "mlflow.pytorch.load_model(" in card()
    text = card(form="weights")
    assert "cannot be exported as a program: it is registered as weights" in text
    assert "which the code of `digits_cnn` runs. In `extra_files`" in text
    assert 'download_artifacts("models:/digits@sparsity-95")' in text
    assert "load_model(" not in text


@pytest.mark.parametrize(
    ("dense", "words"),
    [
        (None, "accuracy 98.12 %."),
        (0.9837, "accuracy 98.12 %, 0.25 points below dense."),
        (0.9762, "accuracy 98.12 %, 0.50 points above dense."),
    ],
)
def test_it_says_how_far_it_is_from_the_dense_network(dense: float | None, words: str) -> None:
    assert words in card(receipt(dense_score=dense))


def test_it_says_how_the_run_led_itself_and_what_it_shared() -> None:
    changes = {"lead": LEAD, "onset": 1, "fork": Fork(folder="runs/run-001/x", epoch=1)}
    text = card(receipt(settings=LATE.model_copy(update=changes)))
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
    text = card(receipt(mode=mode, method=METHOD if mode == "str" else mode), *overrides)
    assert label in text
    assert "threshold decay, led" not in text or mode == "str"


def test_it_fits_into_the_database() -> None:
    layers = {f"layer{number}.with.a.long.name": 0.5 for number in range(400)}
    budget = ",".join(f"{name}: {density}" for name, density in layers.items())
    text = card(None, "sparsity.mode=gmp", f"sparsity.budget={{{budget}}}", "search.weight_decay=1")
    assert len(text) < 5000
    assert "load_model" in text


@pytest.mark.parametrize("is_server", [True, False])
def test_the_note_of_a_sweep_says_what_was_delivered(is_server: bool) -> None:
    uri = "http://mlflow:5000/" if is_server else "sqlite:///mlflow.db"
    experiment = load(f"tracking.uri={uri}")
    missed = TargetOutcome(target=LEAN, run=None, closest=None, miss=None, advice="")
    known = receipt(None, dense_score=0.9837)
    models = [
        Delivered(outcome=None, receipt=known, version="3"),
        Delivered(outcome=None, receipt=receipt(None), version=None),
        Delivered(outcome=missed, receipt=None, version=None),
    ]
    text = delivered_note(experiment, record(), models, ("experiments", "7", "runs", "ab"))
    server = "http://mlflow:5000" if is_server else ""  # links stay on the server that shows them
    tail = "?workflowType=machine_learning"
    link = f"[digits v3]({server}/#/models/digits/versions/3{tail})"
    row = "| - | landed | 98.12 % | 95.00 % | 25,000 | 5.00 % | run-001 | {} |"
    assert text.replace("&ensp;", "").splitlines()[1:] == [
        "",
        "| target | state | accuracy | sparsity | MACs | MACs left | run | registered as |",
        "| --- | --- | --: | --: | --: | --: | --- | --- |",
        row.format(link),
        row.format("not yet"),
        "| 5 % MACs | missed |  |  |  |  |  |  |",
        "",
        "It cost 2 runs, 8 epochs, 4.0\u00a0h of training.",
        "",
        f"[The whole report]({server}/#/experiments/7/runs/ab{tail})",
    ]
    assert "report" not in delivered_note(experiment, record(), models, ())

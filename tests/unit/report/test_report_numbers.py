"""The numbers beside the page are those of the journal and the receipts, to the last digit."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from samples import LATE, METHOD, NINETY, PROBLEM, epoch, proposed
from simulated_sweep import SimulatedSweep

from strsweep.journal import RunStopped, replay
from strsweep.report.rows import run_rows
from strsweep.settings import Fork


@pytest.fixture(scope="module")
def files(sweep: SimulatedSweep) -> dict[str, bytes]:
    return sweep.files()


def table(files: dict[str, bytes], name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files[name].decode())))


def number(text: str) -> float | None:
    return float(text) if text else None


def test_runs_are_those_of_the_journal(sweep: SimulatedSweep, files: dict[str, bytes]) -> None:
    record = sweep.record
    rows = table(files, "runs.csv")
    assert [row["run_id"] for row in rows] == list(record.runs)
    for row, run in zip(rows, record.runs.values(), strict=True):
        last = run.epochs[max(run.epochs)].metrics
        assert number(row["weight_decay"]) == run.proposed.settings.weight_decay
        assert number(row["threshold_init"]) == run.proposed.settings.threshold_init
        assert number(row["sparsity"]) == last["sparsity"]
        assert number(row["accuracy"]) == last["accuracy"]
        assert number(row["macs"]) == last["macs"]
        assert row["purpose"] == ("dense" if run.target is None else str(run.target))
        assert row["role"] == ("dense" if run.settings.is_dense else "")
        assert ("first 10 epochs shared" in row["why"]) == (not run.settings.is_dense)
        assert int(row["last_epoch"]) == max(run.epochs) == 30
        assert int(row["epochs_paid"]) == len(run.epochs)
        assert row["state"] == ("finished" if run.finished else "stopped")
        assert (run.stopped.reason if run.stopped else run.proposed.reason) in row["why"]


def test_epochs_are_those_of_the_journal(sweep: SimulatedSweep, files: dict[str, bytes]) -> None:
    told = [
        {"run_id": run.run_id, **run.epochs[epoch].metrics}
        for run in sweep.record.runs.values()
        for epoch in sorted(run.epochs)
    ]
    read: list[dict[str, Any]] = [
        {key: text if key == "run_id" else float(text) for key, text in row.items()}
        for row in table(files, "epochs.csv")
    ]
    assert read == told


def test_layers_add_up_to_the_receipts(sweep: SimulatedSweep, files: dict[str, bytes]) -> None:
    rows = table(files, "layers.csv")
    for receipt in sweep.receipts:
        own = [row for row in rows if row["model"] == str(receipt.target)]
        assert len(own) == len(sweep.layers)
        assert sum(int(row["zeros"]) for row in own) == receipt.zeros
        assert sum(int(row["macs"]) for row in own) == receipt.macs
        assert sum(float(row["macs_share"]) for row in own) == pytest.approx(1)


def test_receipts_say_asked_trained_and_landed(
    sweep: SimulatedSweep, files: dict[str, bytes]
) -> None:
    rows = {row["target"]: row for row in table(files, "models.csv")}
    assert list(rows) == [str(target) for target in sweep.experiment.search.targets]
    assert len(sweep.receipts) == 5
    for version, receipt in enumerate(sweep.receipts, start=1):
        row, landed = rows[str(receipt.target)], receipt.landed
        assert landed is not None
        assert (row["state"], row["registered_as"]) == ("landed", f"digits v{version}")
        assert number(row["accuracy"]) == receipt.score
        assert number(row["accuracy_before"]) == landed.score_before
        assert number(row["sparsity"]) == receipt.sparsity
        assert number(row["sparsity_before"]) == landed.sparsity_before
        assert number(row["macs_share"]) == receipt.macs / receipt.dense_macs
        assert number(row["macs_before"]) == landed.macs_before
        assert row["weights_sha256"] == receipt.weights_sha256


def test_json_has_cost_method_metric_and_dense_score(
    sweep: SimulatedSweep, files: dict[str, bytes]
) -> None:
    told = json.loads(files["report.json"])
    epochs = 30 + 5 * 20  # the dense network, and five runs that begin after its tenth epoch
    assert (told["num_runs"], told["epochs"]) == (len(sweep.record.runs), epochs) == (6, 130)
    assert told["hours"] == pytest.approx(epochs * 0.5 / 3600)
    assert told["delivered"] * told["epochs_per_run"] == 5 * 30
    assert told["ratio"] == epochs / 150
    assert [row["run_id"] for row in told["runs"]] == list(sweep.record.runs)
    assert told["method"] == METHOD
    assert told["metric"] == {"name": "accuracy", "higher_is_better": True, "is_share": True}
    assert {told["dense_score"]} == {receipt.dense_score for receipt in sweep.receipts}


def test_without_a_dense_network_there_is_no_score_of_it(
    sweep_without_dense: SimulatedSweep,
) -> None:
    contents = sweep_without_dense.contents()
    assert contents.dense_score is None
    assert [run.values["role"] for run in contents.runs] == ["shared start", ""]
    assert contents.total("epochs_paid") == 10 + 20


def test_repeated_epochs_are_paid_for(tmp_path: Path) -> None:
    sweep = SimulatedSweep(tmp_path).start()
    for run_id in ("run-001", "run-002"):
        sweep.journal.append(proposed(run_id, NINETY))
        sweep.epochs(run_id, LATE, count=4)
    sweep.epochs("run-001", LATE, skip=2, count=4)  # two of them again, after a crash
    sweep.journal.append(RunStopped(run_id="run-001", epoch=6, reason="it misses"))
    contents = sweep.contents()
    first, second = (run.values for run in contents.runs)
    assert (first["last_epoch"], first["epochs_paid"], first["state"]) == (6, 8, "stopped")
    assert first["hours_paid"] == pytest.approx(8 * 0.5 / 3600)
    assert (second["last_epoch"], second["epochs_paid"], second["state"]) == (4, 4, "open")
    assert contents.total("epochs_paid") == 12
    assert contents.delivered == []
    assert all(model.values["state"] == "open" for model in contents.models)


@pytest.mark.parametrize(
    ("changes", "decays", "mean"),
    [
        ({}, (0.01, 0.01, 0.04), (0.5 * 0.01 + 0.1 * 0.04) / 0.6),
        ({"onset": 1}, (0.0, 0.01, 0.04), (0.2 * 0.01 + 0.1 * 0.04) / 0.3),
        ({"onset": 1}, (0.0, 0.01, 0.0), 0.2 * 0.01 / 0.3),
        ({"is_dense": True}, (0.0, 0.0, 0.0), None),
        ({"threshold_init": None, "threshold_decay": None}, (5e-4, 5e-4, 5e-4), None),
    ],
    ids=["led", "late", "rested", "dense", "no thresholds"],
)
def test_the_mean_decay_counts_epochs_that_thresholds_act_in_by_their_learning_rate(
    changes: dict[str, object], decays: tuple[float, ...], mean: float | None
) -> None:
    epochs = [
        epoch(number, learning_rate=rate, threshold_decay=decay)
        for number, (rate, decay) in enumerate(zip((0.3, 0.2, 0.1), decays, strict=True), start=1)
    ]
    record = replay([proposed(settings=LATE.model_copy(update={"onset": 0} | changes)), *epochs])
    (row,) = run_rows(record.runs.values(), PROBLEM, lambda _: "")
    assert row.values["threshold_decay"] == (None if mean is None else pytest.approx(mean))


@pytest.mark.parametrize(
    ("changes", "purpose"),
    [
        ({}, ""),
        ({"is_dense": True}, "dense"),
        ({"is_dense": True, "last_epoch": 10, "onset": 10}, "shared start"),
        ({"is_dense": True, "onset": 10, "fork": Fork(folder="x", epoch=10)}, "dense"),
    ],
)
def test_a_run_without_thresholds_is_called_what_it_is(
    changes: dict[str, object], purpose: str
) -> None:
    settings = LATE.model_copy(update={"onset": 0} | changes)
    record = replay([proposed(target=None, settings=settings)])
    (row,) = run_rows(record.runs.values(), PROBLEM, lambda _: "")
    assert row.values["purpose"] == purpose

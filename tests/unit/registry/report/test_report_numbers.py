"""The numbers beside the page are those of the journal and the receipts, to the last digit."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from simulated_sweep import SimulatedSweep

from strsweep.config import Correction, RunSettings, Target
from strsweep.errors import JournalError
from strsweep.journal import (
    EpochFinished,
    RunProposed,
    RunResumed,
    RunStopped,
    SweepStarted,
    replay,
)
from strsweep.registry.report import contents_of, report_files
from strsweep.registry.report.runs import run_rows


@pytest.fixture(scope="module")
def files(sweep: SimulatedSweep) -> dict[str, bytes]:
    return report_files(sweep.experiment, sweep.record, sweep.receipts)


def table(files: dict[str, bytes], name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files[name].decode())))


def number(text: str) -> float | None:
    return float(text) if text else None


def test_the_files(files: dict[str, bytes]) -> None:
    assert set(files) == {
        "report.html",
        "report.json",
        "runs.csv",
        "epochs.csv",
        "layers.csv",
        "thresholds.csv",
        "receipts.csv",
    }


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
        assert row["aim"] == str(run.target)
        assert int(row["last_epoch"]) == max(run.epochs)
        assert int(row["epochs_paid"]) == len(run.epochs)
        assert row["state"] == ("finished" if run.finished else "stopped")
        assert row["ended"] == (run.stopped.reason if run.stopped else "")


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
    rows = {row["asked"]: row for row in table(files, "receipts.csv")}
    assert list(rows) == [str(target) for target in sweep.experiment.search.targets]
    assert len(sweep.receipts) == 5
    for version, receipt in enumerate(sweep.receipts, start=1):
        row, landed = rows[str(receipt.target)], receipt.landed
        assert landed is not None
        assert (row["state"], row["version"]) == ("landed", str(version))
        assert number(row["accuracy"]) == receipt.accuracy
        assert number(row["accuracy_before"]) == landed.accuracy_before
        assert row["weights_sha256"] == receipt.weights_sha256
    assert number(rows["95 %"]["asked_at"]) == 0.95
    assert number(rows["95 %"]["landed_at"]) == sweep.receipts[2].sparsity
    macs = sweep.receipts[4]
    assert number(rows["5 % MACs"]["asked_at"]) == pytest.approx(0.05)
    assert number(rows["5 % MACs"]["landed_at"]) == macs.macs / macs.dense_macs
    assert macs.landed is not None
    assert number(rows["5 % MACs"]["trained_at"]) == macs.landed.macs_before / macs.dense_macs


def test_json_has_the_cost(sweep: SimulatedSweep, files: dict[str, bytes]) -> None:
    told = json.loads(files["report.json"])
    epochs = sum(len(run.epochs) for run in sweep.record.runs.values())
    cost = told["cost"]
    assert (cost["runs"], cost["epochs"]) == (len(sweep.record.runs), epochs)
    assert cost["hours"] == pytest.approx(epochs * 0.5 / 3600)
    assert cost["one_each_epochs"] == 5 * 30
    assert cost["ratio"] == epochs / 150
    assert cost["one_each_hours"] == pytest.approx(150 * 0.5 / 3600)
    assert [row["run_id"] for row in told["runs"]] == list(sweep.record.runs)


def test_forecasts_are_what_the_search_said(sweep: SimulatedSweep) -> None:
    proposed = [run.proposed for run in sweep.record.runs.values()]
    assert proposed
    for event in proposed:
        assert event.forecast is not None
        low, high = event.forecast
        assert 0 < low < high < 1
        assert f"{low:.1%} to {high:.1%} expected" in event.reason


def test_thresholds_are_those_of_the_delivered_runs(
    sweep: SimulatedSweep, files: dict[str, bytes]
) -> None:
    rows = table(files, "thresholds.csv")
    assert {row["run_id"] for row in rows} == {receipt.run_id for receipt in sweep.receipts}
    layers = [name for name, *_ in sweep.layers]
    for receipt in sweep.receipts:
        own = [row for row in rows if row["model"] == str(receipt.target)]
        for epoch, told in sweep.record.runs[receipt.run_id].epochs.items():
            found = {r["name"]: float(r["threshold"]) for r in own if int(r["epoch"]) == epoch}
            assert found == dict(zip(layers, told.thresholds, strict=True))


def test_repeated_and_adopted_epochs(tmp_path: Path) -> None:
    sweep = SimulatedSweep(tmp_path)
    dumped = sweep.experiment.model_dump(mode="json")
    sweep.journal.append(SweepStarted(experiment=dumped, version="0", problem=sweep.problem))
    settings = {"threshold_init": -10.0, "weight_decay": 0.01}
    for run_id, source in (("run-001", None), ("run-002", "other-1/run-003")):
        sweep.journal.append(
            RunProposed(
                run_id=run_id,
                settings=settings,  # type: ignore[arg-type]
                target=Target(sparsity=0.9),
                reason="a test",
                adopted_from=source,
            )
        )
        sweep.epochs(run_id, 0.01, until=4)
    sweep.epochs("run-001", 0.01, first=3, until=6)  # two of them again, after a crash
    sweep.journal.append(RunStopped(run_id="run-001", epoch=6, reason="it misses"))
    contents = contents_of(sweep.experiment, sweep.record, [])
    first, second = contents.runs
    assert (first.last_epoch, first.epochs_paid, first.state) == (6, 8, "stopped")
    assert first.hours_paid == pytest.approx(8 * 0.5 / 3600)
    assert (second.last_epoch, second.epochs_paid, second.hours_paid) == (4, 0, 0)
    assert (contents.cost.runs, contents.cost.adopted, contents.cost.epochs) == (1, 1, 8)
    assert all(model.state == "missed" for model in contents.models)


def test_the_mean_decay_of_a_corrected_run_counts_epochs_by_their_learning_rate() -> None:
    settings = RunSettings(threshold_init=-10, weight_decay=0.01)
    proposed = RunProposed(run_id="run-001", settings=settings, target=None, reason="a test")
    metrics = {"sparsity": 0.5, "macs": 10.0, "seconds": 1.0}
    epochs = [
        EpochFinished(run_id="run-001", metrics={**metrics, "epoch": epoch, "learning_rate": rate})
        for epoch, rate in ((1, 0.3), (2, 0.2), (3, 0.1))
    ]
    change = Correction(after_epoch=2, weight_decay=0.04)
    led = RunResumed(run_id="run-001", target=None, reason="a test", correction=change)
    for events, expected in (([], 0.01), ([led], (0.5 * 0.01 + 0.1 * 0.04) / 0.6)):
        record = replay([proposed, *epochs, *events])
        (row,) = run_rows(record.runs.values(), [], dense_macs=20, link=None)
        assert row.mean_weight_decay == pytest.approx(expected)


def test_an_old_journal_is_told(sweep: SimulatedSweep) -> None:
    events = [
        event.model_copy(update={"problem": None}) if isinstance(event, SweepStarted) else event
        for event in sweep.journal.read()
    ]
    with pytest.raises(JournalError, match=re.escape("version 0.1")):
        contents_of(sweep.experiment, replay(events), [])

"""The report beside the journal: written at any time, from what the storage has alone."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import pytest
from commands import ran
from samples import epoch, proposed
from simulated_sweep import SimulatedSweep, under_way

from strsweep.errors import SettingError
from strsweep.journal import replay
from strsweep.registry.tracker import OwnTrackers
from strsweep.report import LiveReport, contents_of, write_report
from strsweep.status import recorded, status_of
from strsweep.storage import storage_of

FILES = {"report.html", "report.json", "runs.csv", "epochs.csv", "layers.csv", "models.csv"}


def test_it_is_that_of_the_receipts(sweep: SimulatedSweep) -> None:
    storage = storage_of(sweep.experiment)
    assert write_report(recorded(None, sweep.experiment)) == storage.uri("report/report.html")
    made = sweep.files()
    assert set(made) == FILES
    for name, content in made.items():
        assert storage.read(f"report/{name}") == content, name


@pytest.mark.parametrize("copy", ["elsewhere/sweeps/digits", "a-copy"])
def test_that_of_a_copy_is_written_into_the_copy(
    sweep: SimulatedSweep, copy: str, tmp_path: Path
) -> None:
    original = Path(storage_of(sweep.experiment).uri("report/report.html"))
    original.unlink(missing_ok=True)
    folder = tmp_path / copy
    shutil.copytree(original.parents[1], folder)
    found = recorded(str(folder), None)
    assert Path(write_report(found)) == folder / "report" / "report.html"
    told = json.loads((folder / "report" / "report.json").read_bytes())
    assert told["delivered"] == len(sweep.receipts)
    assert status_of(found)["location"] == str(folder)
    assert not original.exists()


def test_a_sweep_that_has_only_begun_and_one_without_a_journal(tmp_path: Path) -> None:
    sweep = SimulatedSweep(tmp_path)
    with pytest.raises(SettingError, match="It has not begun: a job"):
        write_report(recorded(None, sweep.experiment))
    page = Path(write_report(recorded(None, sweep.start().experiment)))
    assert "Nothing was tried yet." in page.read_text()
    assert json.loads(page.with_name("report.json").read_bytes())["num_runs"] == 0


def test_a_sweep_under_way_shows_open_runs_and_targets(tmp_path: Path) -> None:
    page = Path(write_report(recorded(None, under_way(tmp_path).experiment)))
    text, told = page.read_text(), json.loads(page.with_name("report.json").read_bytes())
    assert told["is_open"]
    assert [run["state"] for run in told["runs"]] == ["finished"] * 3 + ["open"] * 2
    states = {model["target"]: (model["state"], model["advice"]) for model in told["models"]}
    assert states["95 %"] == ("landed", "")
    assert states["5 % MACs"] == ("open", "a run hits it; the model is not packaged yet")
    aiming = told["runs"][3]
    aims = f"run-004 aims at it, after epoch {aiming['last_epoch']}"
    assert states[aiming["purpose"]] == ("open", aims)
    assert "Not finished: the state of" in text
    assert "2 open, 3 finished" in text
    assert "open run" in text, "they are in the front, too"


def test_wall_time_is_that_of_the_jobs_without_the_pause_between_them(tmp_path: Path) -> None:
    sweep = SimulatedSweep(tmp_path)
    begun = sweep.start().record.started[0]
    first, second = (
        epoch(number, threshold_decay=0.0, learning_rate=0.1, accuracy=0.5) for number in (1, 2)
    )
    later = ((proposed(), 100), (first, 1900), (begun, 90_000), (second, 91_800))
    events = [e.model_copy(update={"time": begun.time + seconds}) for e, seconds in later]
    contents = contents_of(sweep.experiment, replay([begun, *events]), [])
    assert contents.wall_hours == pytest.approx((1900 + 1800) / 3600)
    assert len(contents.sessions) == 2


def test_the_live_report_is_renewed_after_a_model_and_else_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, now = SimulatedSweep(tmp_path, "search.targets=[0.9]").search(), [1000.0]
    monkeypatch.setattr("strsweep.report.live.time.monotonic", lambda: now[0])
    page = Path(storage_of(sweep.experiment).uri("report/report.html"))
    live = LiveReport(sweep.experiment)

    def is_written() -> bool:
        page.unlink(missing_ok=True)
        live.show(sweep.record)
        return page.exists()

    assert is_written()
    sweep.journal.append(proposed("run-099"))
    now[0] += 50
    assert not is_written(), "not twice in a minute"
    now[0] += 11
    assert is_written()
    now[0] += 1000
    assert not is_written(), "nothing happened since"
    sweep.deliver()
    assert is_written(), "a model, at once"


def test_a_report_that_fails_is_said_once_and_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = SimulatedSweep(tmp_path).start()
    monkeypatch.setattr("strsweep.report.live.store_report", lambda *_: 1 / 0)
    monkeypatch.setattr("strsweep.report.live._INTERVAL_S", 0.0)
    monkeypatch.setattr("strsweep.registry.tracker.INTERVAL_S", 0.01)
    with OwnTrackers(sweep.experiment, {"the report": LiveReport(sweep.experiment)}):
        for number in range(5):
            sweep.journal.append(proposed(f"run-{number:03d}"))
            time.sleep(0.05)
    assert (
        capsys.readouterr().out
        == "the report is not renewed: ZeroDivisionError('division by zero')\n"
    )


def test_a_damaged_receipt_is_a_model_that_is_not_packaged_yet(tmp_path: Path) -> None:
    sweep = SimulatedSweep(tmp_path, "search.targets=[0.8, 0.9]").search().deliver()
    gone, damaged = sweep.receipts
    storage = storage_of(sweep.experiment)
    assert gone.target is not None
    assert damaged.target is not None
    storage.delete(f"models/{gone.target.label}")
    storage.write(f"models/{damaged.target.label}/{damaged.run_id}/receipt.json", b'{"target"')
    page = Path(write_report(recorded(None, sweep.experiment)))
    told = json.loads(page.with_name("report.json").read_bytes())
    assert (told["delivered"], told["targets"]) == (0, 2)


@pytest.mark.slow
def test_neither_mlflow_nor_ray_is_loaded() -> None:
    code = "import sys, strsweep.report; print({'ray', 'mlflow'} & {*sys.modules})"
    assert ran([sys.executable, "-c", code]).stdout.strip() == "set()"


def test_the_status_has_the_numbers_of_the_delivered_models(sweep: SimulatedSweep) -> None:
    values = status_of(recorded(None, sweep.experiment))
    told = {row["target"]: row for row in values["targets"]}
    receipts = {str(receipt.target): receipt for receipt in sweep.receipts}
    assert set(told) == set(receipts)
    for target, receipt in receipts.items():
        assert told[target]["score"] == receipt.score
        assert told[target]["macs_share"] == receipt.macs / receipt.dense_macs
        assert told[target]["sparsity"] == pytest.approx(receipt.sparsity, abs=1e-6)
        assert told[target]["state"] == "registered"

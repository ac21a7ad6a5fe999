"""Where a sweep stands is read from its journal alone, by its file, its folder or its id."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from commands import called
from journaled_sweeps import JournaledSweep, suggested
from samples import DIGITS, landed

from strsweep.journal import Journal, ModelPublished, RunFailed
from strsweep.storage import storage_of


@pytest.fixture
def sweep(tmp_path: Path) -> JournaledSweep:
    """One run hit 98 % and was landed and registered, one trains, one failed."""
    sweep = JournaledSweep(tmp_path / "old", "search.targets=[0.9, 0.98, 0.99]")
    searcher = sweep.job()
    sweep.finish(searcher, "shared")
    hit = sweep.finish(searcher, "a")
    run = sweep.record.runs[hit]
    assert run.target is not None
    event = landed(run.target, run.run_id)
    sweep.journal.append(event)
    published = ModelPublished(
        target=run.target, run_id=run.run_id, folder="x", model_uri="m", version="7"
    )
    Journal(storage_of(sweep.experiment()), "publish").append(published)
    under_way = suggested(searcher, "b")["run_id"]
    sweep.train(under_way, last=15)
    failed = suggested(searcher, "c")["run_id"]
    sweep.journal.append(RunFailed(run_id=failed, reason="the loss became NaN"))
    return sweep


def test_targets_and_runs_while_it_runs(
    sweep: JournaledSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = storage_of(sweep.experiment()).location
    assert called("status", folder, "--json") == 0
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    by_state = {row["state"]: row for row in values["targets"]}
    assert len(values["targets"]) == 3
    assert (by_state["registered"]["version"], by_state["registered"]["sparsity"]) == ("7", 0.95)
    assert by_state["under way"]["run_id"] == values["runs"][2]["run_id"]
    states = [(row["state"], row["epoch"], row["epochs"]) for row in values["runs"]]
    assert states[:3] == [("finished", 10, 10), ("finished", 30, 30), ("under way", 15, 30)]
    assert values["runs"][0]["purpose"] == "shared start"
    assert values["runs"][2]["seconds"] == pytest.approx(5 * 0.25)
    assert values["runs"][3]["reason"] == "the loss became NaN"
    assert values["epochs_trained"] == 10 + 20 + 5

    assert called("status", folder) == 0
    said = capsys.readouterr().out
    assert "1 of 3 targets hit, 4 of 40 runs used, 35 epochs trained; newest entry 00:0" in said
    (row,) = [line.split() for line in said.splitlines() if line.startswith("run-003")]
    assert row[3:6] == ["under", "way", "15/30"]
    assert "the loss became NaN" in said


def test_it_is_found_by_its_file_and_where_it_was_moved_to(
    sweep: JournaledSweep,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "old").rename(tmp_path / "new")
    monkeypatch.setenv("STRSWEEP_RESULTS", str(tmp_path / "new"))
    name = sweep.experiment().sweep_id
    assert called("status", name) == 0
    assert str(tmp_path / "new/sweeps" / name) in capsys.readouterr().out
    settings = ("--set", f"storage.path={tmp_path / 'new'}", "--set", "search.targets=[0.98]")
    assert called("status", "--config", str(DIGITS), *settings) == 0
    assert "1 of 1 target hit" in capsys.readouterr().out
    assert called("report", name) == 0
    page = Path(capsys.readouterr().out.splitlines()[-1])
    assert page == tmp_path / "new/sweeps" / name / "report/report.html"
    assert page.stat().st_size > 1_000_000

    assert called("status", name[:-1]) == 2
    assert f"Did you mean {name!r}?" in capsys.readouterr().err

"""Runs of sweeps of the same recipe are used; runs of other recipes are left alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from journaled_sweeps import JournaledSweep, suggested
from planted_sweeps import OWN_RANGE

from strsweep.config import Fork
from strsweep.journal import Journal, RunFailed, SweepRecord, replay
from strsweep.search.decide import DONE
from strsweep.search.runs import read_state
from strsweep.storage import storage_of
from strsweep.sweep.adoption import adopt_runs

ALONE = ("search.share_prefix=false",)
"""Without a shared start, so that the first run is one for a target."""


class Sweeps:
    """Sweeps that share one storage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def trained(self, name: str, *overrides: str, runs: int = 1) -> JournaledSweep:
        """Return a sweep of which so many runs have finished."""
        sweep = JournaledSweep(self.folder, f"name={name}", *overrides)
        searcher = sweep.job()
        for number in range(runs):
            sweep.finish(searcher, f"t{number}")
        return sweep

    def started(self, name: str, *overrides: str) -> JournaledSweep:
        return self.trained(name, *overrides, runs=0)


def adopt(sweep: JournaledSweep) -> int:
    return adopt_runs(sweep.experiment(), sweep.journal)


@pytest.fixture
def sweeps(tmp_path: Path) -> Sweeps:
    return Sweeps(tmp_path)


def test_runs_of_another_range_and_name_are_used(sweeps: Sweeps) -> None:
    theirs = sweeps.trained("first", *ALONE, runs=2)
    searcher = theirs.job()
    failed = suggested(searcher, "x")["run_id"]
    theirs.journal.append(RunFailed(run_id=failed, reason="lost"))
    mine = sweeps.started("second", *ALONE, *OWN_RANGE, "search.targets=[0.85]")
    assert mine.experiment().sweep_id != theirs.experiment().sweep_id
    assert adopt(mine) == 2
    record, other = mine.record, theirs.record
    assert list(record.runs) == ["run-001", "run-002"]
    first = record.runs["run-001"]
    assert first.proposed.adopted_from == f"{theirs.experiment().sweep_id}/run-001"
    assert (first.target, other.runs["run-001"].target is None) == (None, False)
    assert first.num_epochs_trained == record.epochs_trained == 0
    assert len(first.epochs) == 30
    state, source = (read_state(r, mine.experiment()) for r in (record, other))
    for run, origin in zip(state.runs, source.finished, strict=True):
        for key in ("settings", "status", "epoch", "sparsity", "macs_pruned", "decayed"):
            assert getattr(run, key) == getattr(origin, key)
    # What is known of the law is known here: 85 % are hit by the next run.
    searcher = mine.job()
    mine.finish(searcher, "a")
    assert searcher.is_over()
    assert searcher.stopped == DONE


def test_the_shared_start_of_another_sweep_is_used(sweeps: Sweeps) -> None:
    theirs = sweeps.trained("first", runs=1)
    mine = sweeps.started("second", "search.targets=[0.85]")
    assert adopt(mine) == 1
    folder = f"../{theirs.experiment().sweep_id}/runs/run-001/epoch_00010"
    assert read_state(mine.record, mine.experiment()).prefix == folder
    run_id = mine.finish(mine.job(), "a")
    run = mine.record.runs[run_id]
    assert run.settings.fork == Fork(folder=folder, epoch=10)
    assert min(run.epochs) == 11
    assert mine.record.epochs_trained == 20
    storage_of(theirs.experiment()).write("runs/run-001/epoch_00010/file", b"shared")
    assert storage_of(mine.experiment()).read(f"{folder}/file") == b"shared"


def test_the_baseline_of_another_sweep_is_used(sweeps: Sweeps) -> None:
    sweeps.trained("first", "search.baseline=true", runs=1)
    mine = sweeps.started("second", "search.baseline=true", "search.targets=[0.85]")
    assert adopt(mine) == 1
    config = suggested(mine.job(), "a")
    assert config["settings"]["is_dense"] is False
    assert config["settings"]["fork"]["epoch"] == 10


def test_checkpoints_stay_where_they_are(sweeps: Sweeps) -> None:
    theirs, mine = sweeps.trained("first", *ALONE), sweeps.started("second", *ALONE)
    adopt(mine)
    finished = mine.record.runs["run-001"].finished
    assert finished is not None
    storage_of(theirs.experiment()).write("runs/run-001/epoch_00030/file", b"of the other sweep")
    read = storage_of(mine.experiment()).read(f"{finished.checkpoint}/file")
    assert read == b"of the other sweep"


def test_nothing_is_adopted_twice_and_nothing_second_hand(sweeps: Sweeps) -> None:
    theirs, mine = sweeps.trained("first", *ALONE), sweeps.trained("second", *ALONE)
    assert adopt(mine) == 1
    assert adopt(mine) == 0
    assert list(mine.record.runs) == ["run-001", "run-002"]
    third = sweeps.started("third", *ALONE)
    assert adopt(third) == 2  # one of each, not the adopted one again
    theirs.finish(theirs.job(), "next")
    assert adopt(third) == 1
    assert adopt(mine) == 1


@pytest.mark.parametrize(
    "difference",
    [
        "training.epochs=31",
        "training.seed=1",
        "model.options={width: 20}",
        "sparsity.granularity=global",
        "data.name=synthetic",
        "search.weight_decay=1e-4",
        "search.share_prefix=true",
    ],
)
def test_runs_of_another_recipe_are_left_alone(sweeps: Sweeps, difference: str) -> None:
    sweeps.trained("first", *ALONE, difference)
    mine = sweeps.started("second", *ALONE)
    assert adopt(mine) == 0
    assert mine.record.runs == {}


def test_a_folder_that_cannot_be_read_is_told_and_left_out(
    sweeps: Sweeps, capsys: pytest.CaptureFixture[str]
) -> None:
    sweeps.trained("first", *ALONE)
    broken, older = (sweeps.started(name, *ALONE).experiment() for name in ("broken", "older"))
    storage_of(broken).append_line("journal/sweep.jsonl", '{"event": "unheard_of"}')
    storage_of(older).append_line(
        "journal/sweep.jsonl", '{"event": "sweep_started", "experiment": {}, "version": "0"}'
    )
    (sweeps.folder / "sweeps" / "empty").mkdir()
    (sweeps.folder / "sweeps" / "notes.txt").write_text("mine")
    assert adopt(sweeps.started("second", *ALONE)) == 1
    told = capsys.readouterr().out
    assert f"{broken.sweep_id} is not used: " in told
    assert f"{older.sweep_id} is not used: " in told
    assert len(told.splitlines()) == 2


def without_the_proposal(sweep: JournaledSweep) -> Journal:
    """Return the journal as a kill before the last line of an adoption left it."""
    path = Path(storage_of(sweep.experiment()).uri("journal/sweep.jsonl"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    return Journal(storage_of(sweep.experiment()))


def record_of(journal: Journal) -> SweepRecord:
    return replay(journal.read())


def test_a_kill_between_two_lines_leaves_nothing_half_adopted(sweeps: Sweeps) -> None:
    sweeps.trained("first", *ALONE)
    mine = sweeps.started("second", *ALONE)
    before = len(mine.journal.read())
    adopt(mine)
    again = without_the_proposal(mine)
    assert len(again.read()) > before
    assert record_of(again).runs == {}
    assert adopt_runs(mine.experiment(), again) == 1
    (run,) = record_of(again).finished_runs
    assert len(run.epochs) == 30


def test_what_a_kill_left_is_never_taken_for_another_run(sweeps: Sweeps) -> None:
    theirs, mine = sweeps.trained("first", *ALONE), sweeps.started("second", *ALONE)
    adopt(mine)
    again = without_the_proposal(mine)
    assert record_of(again).next_run_id == "run-002"
    sweeps.trained("third", *ALONE, "search.targets=[0.97]")
    shutil.rmtree(storage_of(theirs.experiment()).uri(""))
    assert adopt_runs(mine.experiment(), again) == 1
    (run,) = record_of(again).finished_runs
    assert run.run_id == "run-002"
    assert run.epochs[30].metrics["sparsity"] == pytest.approx(0.97)

"""Runs of sweeps of the same recipe are used; runs of other recipes are left alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from search_simulation import PROBLEM, digits, trajectory

from strsweep.config import Experiment, Problem, RunSettings, Target
from strsweep.journal import (
    EpochFinished,
    Journal,
    RunFailed,
    RunFinished,
    RunProposed,
    SweepRecord,
    SweepStarted,
    replay,
)
from strsweep.storage import storage_of
from strsweep.sweep.adoption import adopt_runs
from strsweep.sweep.record_view import finished_runs, path_of


class Sweeps:
    """Sweeps that share one storage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def started(
        self, *overrides: str, problem: Problem | None = PROBLEM
    ) -> tuple[Experiment, Journal]:
        experiment = digits(f"storage.path={self.folder}", *overrides)
        journal = Journal(storage_of(experiment))
        dumped = experiment.model_dump(mode="json")
        journal.append(SweepStarted(experiment=dumped, version="0", problem=problem))
        return experiment, journal


def trained(journal: Journal, number: int, decay: float, final: float) -> str:
    run_id = f"run-{number:03d}"
    journal.append(
        RunProposed(
            run_id=run_id,
            settings=RunSettings(threshold_init=-10, weight_decay=decay),
            target=Target(sparsity=0.9),
            reason="aimed",
        )
    )
    for snapshot in trajectory(final, 30):
        metrics = {"epoch": snapshot.epoch, "sparsity": snapshot.sparsity, "macs": 1e5}
        journal.append(EpochFinished(run_id=run_id, metrics=metrics))
    metrics = {"sparsity": final, "accuracy": 0.97, "macs": 1e5}
    journal.append(
        RunFinished(run_id=run_id, metrics=metrics, layers=(), checkpoint=f"runs/{run_id}/30")
    )
    return run_id


def record_of(journal: Journal) -> SweepRecord:
    return replay(journal.read())


@pytest.fixture
def sweeps(tmp_path: Path) -> Sweeps:
    return Sweeps(tmp_path)


def test_runs_of_another_range_and_name_are_used(sweeps: Sweeps) -> None:
    other, theirs = sweeps.started("name=first", "search.weight_decay=[1e-3, 2e-2]")
    trained(theirs, 1, 8e-3, 0.87)
    trained(theirs, 2, 1.6e-2, 0.977)
    theirs.append(
        RunProposed(
            run_id="run-003",
            settings=RunSettings(threshold_init=-10, weight_decay=5e-3),
            target=None,
            reason="",
        )
    )
    theirs.append(RunFailed(run_id="run-003", reason="lost"))
    mine, journal = sweeps.started("name=second", "search.targets=[0.95]")
    assert mine.sweep_id != other.sweep_id
    assert adopt_runs(mine, journal) == 2
    record = record_of(journal)
    assert list(record.runs) == ["run-001", "run-002"]
    first = record.runs["run-001"]
    assert first.proposed.adopted_from == f"{other.sweep_id}/run-001"
    assert first.target is None
    assert first.num_epochs_trained == record.epochs_trained == 0
    assert len(first.epochs) == 30
    found = finished_runs(record, mine)
    path = path_of(record, mine)
    assert path is not None
    assert [path.at(run.position).weight_decay for run in found] == [8e-3, 1.6e-2]
    assert [run.sparsity for run in found] == [0.87, 0.977]


def test_checkpoints_stay_where_they_are(sweeps: Sweeps) -> None:
    other, theirs = sweeps.started("name=first")
    trained(theirs, 1, 8e-3, 0.87)
    mine, journal = sweeps.started("name=second")
    adopt_runs(mine, journal)
    finished = record_of(journal).runs["run-001"].finished
    assert finished is not None
    storage_of(other).write("runs/run-001/30/file", b"of the other sweep")
    assert storage_of(mine).read(f"{finished.checkpoint}/file") == b"of the other sweep"


def test_nothing_is_adopted_twice_and_nothing_second_hand(sweeps: Sweeps) -> None:
    _, theirs = sweeps.started("name=first")
    trained(theirs, 1, 8e-3, 0.87)
    mine, journal = sweeps.started("name=second")
    trained(journal, 1, 1e-2, 0.9)
    assert adopt_runs(mine, journal) == 1
    assert adopt_runs(mine, journal) == 0
    assert list(record_of(journal).runs) == ["run-001", "run-002"]
    third, last = sweeps.started("name=third")
    assert adopt_runs(third, last) == 2  # one of each, not the adopted one again
    trained(theirs, 2, 9e-3, 0.88)
    assert adopt_runs(third, last) == 1
    assert adopt_runs(mine, journal) == 1


@pytest.mark.parametrize(
    "difference",
    [
        "training.epochs=31",
        "training.seed=1",
        "model.options={width: 20}",
        "sparsity.granularity=global",
        "data.name=synthetic",
    ],
)
def test_runs_of_another_recipe_are_left_alone(sweeps: Sweeps, difference: str) -> None:
    _, theirs = sweeps.started("name=first", difference)
    trained(theirs, 1, 8e-3, 0.87)
    mine, journal = sweeps.started("name=second")
    assert adopt_runs(mine, journal) == 0
    assert record_of(journal).runs == {}


def test_a_run_with_another_threshold_init_is_off_the_path(sweeps: Sweeps) -> None:
    _, theirs = sweeps.started("name=first")
    trained(theirs, 1, 8e-3, 0.87)
    mine, journal = sweeps.started("name=second", "search.threshold_init=-20")
    assert adopt_runs(mine, journal) == 1
    (run,) = finished_runs(record_of(journal), mine)
    assert not run.is_on_path
    path = path_of(record_of(journal), mine)
    assert path is not None
    drive = path.clock.drive(-10, 8e-3)
    assert path.drives([run.position])[0] == pytest.approx(drive)


def test_a_folder_that_cannot_be_read_is_told_and_left_out(
    sweeps: Sweeps, capsys: pytest.CaptureFixture[str]
) -> None:
    _, theirs = sweeps.started("name=first")
    trained(theirs, 1, 8e-3, 0.87)
    experiment, broken = sweeps.started("name=broken")
    storage_of(experiment).append_line("journal/sweep.jsonl", '{"event": "unheard_of"}')
    older, _ = sweeps.started("name=older")
    storage_of(older).append_line(
        "journal/sweep.jsonl",
        SweepStarted(experiment={"name": "older"}, version="0").model_dump_json(),
    )
    (sweeps.folder / "sweeps" / "empty").mkdir()
    (sweeps.folder / "sweeps" / "notes.txt").write_text("mine")
    mine, journal = sweeps.started("name=second")
    assert adopt_runs(mine, journal) == 1
    told = capsys.readouterr().out
    assert f"{experiment.sweep_id} is not used: " in told
    assert f"{older.sweep_id} is not used: " in told
    assert len(told.splitlines()) == 2
    del broken


def test_a_kill_between_two_lines_leaves_nothing_half_adopted(sweeps: Sweeps) -> None:
    _, theirs = sweeps.started("name=first")
    trained(theirs, 1, 8e-3, 0.87)
    mine, journal = sweeps.started("name=second")
    before = len(journal.read())
    adopt_runs(mine, journal)
    path = Path(storage_of(mine).uri("journal/sweep.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))  # all but the proposal
    again = Journal(storage_of(mine))
    assert len(again.read()) > before
    assert record_of(again).runs == {}
    assert adopt_runs(mine, again) == 1
    (run,) = finished_runs(record_of(again), mine)
    assert len(run.trajectory) == 30


def test_a_journal_of_version_0_1_is_adopted_too(sweeps: Sweeps) -> None:
    _, theirs = sweeps.started("name=first", problem=None)
    trained(theirs, 1, 8e-3, 0.87)
    mine, journal = sweeps.started("name=second")
    assert adopt_runs(mine, journal) == 1


def test_what_a_kill_left_is_never_taken_for_another_run(sweeps: Sweeps) -> None:
    other, theirs = sweeps.started("name=first")
    trained(theirs, 1, 8e-3, 0.87)
    mine, journal = sweeps.started("name=second")
    adopt_runs(mine, journal)
    path = Path(storage_of(mine).uri("journal/sweep.jsonl"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    again = Journal(storage_of(mine))
    assert record_of(again).next_run_id == "run-002"
    third, _ = sweeps.started("name=third")
    trained(Journal(storage_of(third)), 1, 1.6e-2, 0.977)
    shutil.rmtree(storage_of(other).uri(""))
    assert adopt_runs(mine, again) == 1
    (run,) = finished_runs(record_of(again), mine)
    assert (run.run_id, run.sparsity) == ("run-002", 0.977)

"""A tracker of one's own sees what MLflow sees, and harms nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from samples import epoch, load, proposed, started

from strsweep.config import Experiment
from strsweep.errors import SettingError
from strsweep.journal import Journal, SweepRecord
from strsweep.registry import OwnTrackers, Tracker, Tracking, tracker
from strsweep.storage import storage_of

pytestmark = pytest.mark.filterwarnings("default:.*noload.*")  # in MLflow's own tables


class Board:
    """Notes how many epochs it was shown, and fails where it is told to."""

    seen: list[int]
    fails = False

    def __init__(self, experiment: Experiment) -> None:
        self.name = experiment.name

    def show(self, record: SweepRecord) -> None:
        if Board.fails:
            raise ConnectionError("the board is away")
        Board.seen.append(sum(len(run.epochs) for run in record.runs.values()))


class NoBoard:
    def __init__(self, experiment: Experiment) -> None:
        pass


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    monkeypatch.setattr(tracker, "INTERVAL_S", 0.01)
    monkeypatch.setattr(Board, "seen", [], raising=False)
    monkeypatch.setattr(Board, "fails", False)
    return Journal(storage_of(experiment(tmp_path)))


def experiment(folder: Path, name: str = "Board") -> Experiment:
    return load(f"storage.path={folder}", f"tracking.also=['{__name__}:{name}']")


def test_it_is_shown_the_journal_while_it_grows_and_at_the_end(
    journal: Journal, tmp_path: Path
) -> None:
    journal.append(started())
    journal.append(proposed("run-001"))
    with OwnTrackers(experiment(tmp_path)):
        journal.append(epoch(1))
        until = time.monotonic() + 300
        while 1 not in Board.seen and time.monotonic() < until:
            time.sleep(0.01)
        journal.append(epoch(2))
    assert 1 in Board.seen
    assert Board.seen[-1] == 2
    assert Board.seen == sorted(Board.seen)


def test_what_it_raises_is_said_once_and_it_is_asked_again(
    journal: Journal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    journal.append(proposed("run-001"))
    Board.fails = True
    with OwnTrackers(experiment(tmp_path)):
        time.sleep(0.2)
        Board.fails = False
    assert Board.seen[-1:] == [0]
    said = capsys.readouterr().out
    assert said.count("Board does not show the sweep: ConnectionError('the board is away')") == 1


def test_what_is_no_tracker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"tracking\.also: .*NoBoard has no method show"):
        OwnTrackers(experiment(tmp_path, "NoBoard"))


def test_mlflow_is_one(journal: Journal, tmp_path: Path) -> None:
    mlflow = load(f"storage.path={tmp_path}", f"tracking.uri=sqlite:///{tmp_path}/m.db")
    shown: Tracker = Tracking(mlflow)
    shown.show(SweepRecord())  # nothing was started: nothing is made

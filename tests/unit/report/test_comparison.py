"""Several sweeps in one page: read from their folders alone, named apart, side by side."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from pathlib import Path

import plotly.graph_objects as go
import pytest
from commands import ran
from samples import RMSE
from simulated_sweep import SimulatedSweep

from strsweep.errors import SettingError
from strsweep.report import comparison_files, read_sweep
from strsweep.storage import storage_of

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two sweeps with their packages: the second one asks for one target, of other networks."""
    found: list[Path] = []
    for name, overrides in (("one", ()), ("two", ("name=other", "search.targets=[0.9]"))):
        sweep = SimulatedSweep(tmp_path_factory.mktemp(name), *overrides).search().deliver()
        found.append(Path(storage_of(sweep.experiment).location))
    return found


def test_both_fronts_and_all_models(folders: list[Path]) -> None:
    sweeps = [read_sweep(str(folder)) for folder in folders]
    files = comparison_files(sweeps)
    page = files["comparison.html"].decode()
    (found,) = re.findall(r'id="figures">(.*?)</script>', page)
    figure = json.loads(found)["front-sparsity"]
    go.Figure(figure)
    models = {trace["name"]: trace for trace in figure["data"] if "lines" in trace["mode"]}
    counts = {name: len(trace["x"]) for name, trace in models.items()}
    assert counts == {"digits (str)": 5, "other (str)": 1}
    rows = list(csv.DictReader(io.StringIO(files["models.csv"].decode())))
    assert [row["sweep"] for row in rows] == ["digits (str)"] * 5 + ["other (str)"]
    delivered = [model for sweep in sweeps for model in sweep.models]
    assert [float(row["accuracy"]) for row in rows] == [m.values["accuracy"] for m in delivered]
    told = json.loads(files["report.json"])
    assert [sweep["epochs"] for sweep in told] == [sweep.total("epochs_paid") for sweep in sweeps]
    assert page.count('<tr><td class="text">') == 5 + 2, "five targets, and what two sweeps cost"
    assert len(files["comparison.html"]) < 5_000_000


def test_the_same_name_twice_is_told_apart(folders: list[Path]) -> None:
    sweep = read_sweep(str(folders[0]))
    page = comparison_files([sweep, sweep])["comparison.html"].decode()
    assert "1 digits (str)" in page
    assert "2 digits (str)" in page


def test_sweeps_of_other_metrics_are_not_compared(folders: list[Path], tmp_path: Path) -> None:
    other = SimulatedSweep(tmp_path, "search.targets=[0.9]", metric=RMSE).search().deliver()
    sweeps = [read_sweep(str(folders[0])), read_sweep(str(storage_of(other.experiment).location))]
    with pytest.raises(SettingError, match="judged by the same metric"):
        comparison_files(sweeps)


@pytest.mark.slow
def test_the_job(folders: list[Path], tmp_path: Path) -> None:
    command = [sys.executable, "jobs/compare.py", "--out", str(tmp_path)]
    for folder in folders:
        command += ["--sweep", str(folder)]
    done = ran(command, cwd=ROOT, timeout=600)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()  # on a busy machine there are lines of progress between them
    assert (told[0], told[-1]) == ("reading the sweeps", str(tmp_path / "comparison.html"))
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["comparison.html", "models.csv", "report.json"]


def test_an_id_is_looked_up_in_the_results(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRSWEEP_RESULTS", str(folders[0].parents[1]))
    assert read_sweep(folders[0].name).experiment.sweep_id == folders[0].name
    for reference in ("digits-0", str(tmp_path)):
        with pytest.raises(SettingError, match=r"^--sweep: got .*its folder with journal/ in it\."):
            read_sweep(reference)


def test_of_many_neighbours_a_few_are_named(folders: list[Path]) -> None:
    for number in range(20):
        (folders[0].parent / f"{number}-resnet" / "journal").mkdir(parents=True)
    (folders[0].parent / "mobilenet/journal").mkdir(parents=True)
    with pytest.raises(SettingError) as told:
        read_sweep(str(folders[0].parent / "mobilnet"))
    assert "Did you mean 'mobilenet'?" in str(told.value)
    num_others = sum(folder.is_dir() for folder in folders[0].parent.iterdir()) - 5
    assert str(told.value).endswith(f" and {num_others} more.")


def test_a_damaged_journal_is_told(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal/sweep.jsonl").write_text('{"event": "moon_landing"}\n{"event": 3}\n')
    with pytest.raises(SettingError, match=r"It cannot be read: journal/sweep\.jsonl, line 1"):
        read_sweep(str(tmp_path))

"""The page is whole in itself, small, valid for plotly, and no name can break out of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from report_charts import CHARTS
from simulated_sweep import DIGITS_LAYERS, SimulatedSweep

from strsweep.journal import Event, RunFailed, RunProposed, SweepStarted, replay
from strsweep.registry.report import report_files

ROOT = Path(__file__).parents[4]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & {{ 7 * 7 }}"
MAX_BYTES = 5_000_000


def page_of(sweep: SimulatedSweep, link: Any = None) -> str:
    return report_files(sweep.experiment, sweep.record, sweep.receipts, link)[
        "report.html"
    ].decode()


def figures_of(page: str) -> dict[str, Any]:
    (found,) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', page)
    return json.loads(found)


def without_plotly(page: str) -> str:
    return re.sub(r'(id="plotly">)[^<]*', r"\1", page)


@pytest.fixture(scope="module")
def page(sweep: SimulatedSweep) -> str:
    return page_of(sweep)


def test_every_figure_is_valid_and_has_its_place(page: str) -> None:
    figures = figures_of(page)
    assert set(figures) == CHARTS
    for name, figure in figures.items():
        go.Figure(figure)  # plotly refuses what it does not know
        assert figure["data"], name
        assert f'<div id="{name}"></div>' in page


def test_the_front_has_runs_models_and_targets(sweep: SimulatedSweep, page: str) -> None:
    figure = figures_of(page)["front-sparsity"]
    traces = {trace["name"]: trace for trace in figure["data"]}
    finished = [run.finished for run in sweep.record.runs.values() if run.finished]
    assert traces["finished run"]["x"] == [1 - run.metrics["sparsity"] for run in finished]
    assert traces["finished run"]["y"] == [100 * run.metrics["accuracy"] for run in finished]
    landed = traces["delivered, landed"]
    assert landed["x"] == [1 - receipt.sparsity for receipt in sweep.receipts]
    lines = [round(1 - shape["x0"], 6) for shape in figure["layout"]["shapes"]]
    assert lines == [0.8, 0.9, 0.95, 0.98]
    (macs_line,) = figures_of(page)["front-macs"]["layout"]["shapes"]
    assert macs_line["x0"] == pytest.approx(0.05)


def test_nothing_is_fetched(page: str) -> None:
    shown = without_plotly(page)
    assert re.findall(r'(?:src|href)\s*=\s*"(?!data:,")', shown) == []
    assert "http:" not in shown
    assert "https:" not in shown
    assert "url(" not in shown
    assert "@import" not in shown


def test_links_are_the_only_addresses(sweep: SimulatedSweep) -> None:
    shown = without_plotly(page_of(sweep, lambda run_id: f"https://mlflow.example/#/runs/{run_id}"))
    addresses = set(re.findall(r"https?://[^\"' <]+", shown))
    assert addresses == {f"https://mlflow.example/#/runs/{run_id}" for run_id in sweep.record.runs}


def test_a_large_sweep_stays_small(tmp_path: Path) -> None:
    sweep = SimulatedSweep(tmp_path, "training.epochs=100")
    dumped = sweep.experiment.model_dump(mode="json")
    events: list[Event] = [SweepStarted(experiment=dumped, version="0", problem=sweep.problem)]
    for number in range(500):
        events += sweep.whole_run(f"run-{number:03d}", 0.004 * 1.003**number)
    files = report_files(sweep.experiment, replay(events), [])
    assert 1_000_000 < len(files["report.html"]) < MAX_BYTES
    *lines, ends = figures_of(files["report.html"].decode())["sparsity-epochs"]["data"]
    assert len(lines) == len(ends["x"]) == 500
    assert all(len(line["x"]) == 51 and line["x"][-1] == 100 for line in lines)
    assert len(files["epochs.csv"].splitlines()) == 1 + 500 * 100


def test_no_name_breaks_out(tmp_path: Path) -> None:
    layers = [(f"{HOSTILE} {name}", *rest) for name, *rest in DIGITS_LAYERS]
    sweep = SimulatedSweep(tmp_path, "search.targets=[0.9]", layers=layers)  # type: ignore[arg-type]
    sweep.experiment = sweep.experiment.model_copy(
        update={"model": sweep.experiment.model.model_copy(update={"name": HOSTILE})}
    )
    sweep.journal.append(
        SweepStarted(
            experiment=sweep.experiment.model_dump(mode="json"), version="0", problem=sweep.problem
        )
    )
    sweep.search().deliver()
    sweep.journal.append(
        RunProposed(
            run_id="run-099",
            settings=sweep.record.runs["run-001"].proposed.settings,
            target=None,
            reason=HOSTILE,
        )
    )
    sweep.epochs("run-099", 0.01, until=2)
    sweep.journal.append(RunFailed(run_id="run-099", reason=HOSTILE))
    page = page_of(sweep, lambda run_id: f'https://x/"><img src=x>{run_id}')
    assert page.count("<script") == 3 == page.count("</script>")
    assert "<img" not in page
    assert "onerror=alert(2)&gt; &amp; {{ 7 * 7 }}" in page
    assert 'href="https://x/&#34;&gt;&lt;img src=x&gt;run-001"' in page
    for name, figure in figures_of(page).items():
        go.Figure(figure)
        for trace in figure["data"]:
            for addresses in ("customdata", "meta"):  # they are opened and never drawn
                trace.pop(addresses, None)
        assert "<img" not in json.dumps(figure, ensure_ascii=False), name


def test_a_sweep_that_has_only_begun(tmp_path: Path) -> None:
    sweep = SimulatedSweep(tmp_path)
    dumped = sweep.experiment.model_dump(mode="json")
    sweep.journal.append(SweepStarted(experiment=dumped, version="0", problem=sweep.problem))
    page = page_of(sweep)
    assert figures_of(page) == {}
    assert "Nothing was tried yet." in page
    assert "no model was delivered yet" in page or "no run has finished" in page
    assert 'class="chart"' not in page


def test_the_wheel_has_the_templates(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    folder = "strsweep/registry/report/templates"
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(folder)}
    here = ROOT / "service" / folder
    assert packed == {f"{folder}/{path.name}" for path in here.iterdir()}
    assert packed

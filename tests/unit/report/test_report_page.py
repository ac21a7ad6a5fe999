"""The page is whole in itself, small, valid for plotly, and no name can break out of it."""

from __future__ import annotations

import csv
import json
import math
import re
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import CHARTS, RMSE
from simulated_sweep import DIGITS_LAYERS, SimulatedSweep

from strsweep.journal import RunFailed, RunProposed, replay
from strsweep.report import contents_of, report_files
from strsweep.report.charts import APART, LEAST, left_of, share_axis
from strsweep.settings import RunSettings

ROOT = Path(__file__).parents[3]
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & {{ 7 * 7 }}"
MAX_BYTES = 5_000_000


def figures_of(page: str) -> dict[str, Any]:
    (found,) = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', page)
    return json.loads(found)


@pytest.fixture(scope="module")
def page(sweep: SimulatedSweep) -> str:
    return sweep.page()


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
    pruned = [run for run in sweep.record.runs.values() if not run.settings.is_dense]
    finished = [run.finished for run in pruned if run.finished]
    drawn = zip(traces["finished run"]["x"], traces["finished run"]["y"], strict=True)
    told = [(1 - run.metrics["sparsity"], 100 * run.metrics["accuracy"]) for run in finished]
    assert sorted(drawn) == sorted(told)
    landed = traces["delivered, landed"]
    assert sorted(landed["x"]) == sorted(1 - receipt.sparsity for receipt in sweep.receipts)
    assert sorted(landed["y"]) == sorted(100 * receipt.score for receipt in sweep.receipts)
    assert [round(1 - line["x0"], 6) for line in lines(figure, "dot")] == [0.8, 0.9, 0.95, 0.98]
    (macs_line,) = lines(figures_of(page)["front-macs"], "dot")
    assert macs_line["x0"] == pytest.approx(0.05)


def lines(figure: dict[str, Any], dash: str) -> list[dict[str, Any]]:
    return [shape for shape in figure["layout"].get("shapes", []) if shape["line"]["dash"] == dash]


def test_the_dense_network_is_a_dashed_line_inside_the_frame(
    sweep: SimulatedSweep, sweep_without_dense: SimulatedSweep, page: str
) -> None:
    dense = 100 * (0.995 - 0.4 / 31**2)  # what the simulation gives without any pruning
    without = figures_of(sweep_without_dense.page())
    for name in ("front-sparsity", "front-macs"):
        figure = figures_of(page)[name]
        (line,) = lines(figure, "dash")
        assert line["y0"] == line["y1"] == pytest.approx(dense)
        assert line["name"] == f"dense {dense:.2f} %"
        assert line["showlegend"]
        low, high = figure["layout"]["yaxis"]["range"]
        assert low < dense < high
        assert lines(without[name], "dash") == []
    assert f"dense accuracy {dense:.2f} %" in page
    assert "<th>vs dense</th>" in page
    assert "vs dense" not in sweep_without_dense.page()
    for receipt in sweep.receipts:
        assert f"<td>{100 * receipt.score - dense:+.2f}</td>" in page


def test_runs_without_thresholds_are_shown_as_what_they_are(
    sweep_without_dense: SimulatedSweep, page: str
) -> None:
    for shown, role in ((page, "dense"), (sweep_without_dense.page(), "shared start")):
        assert f'run-001</td><td class="text">{role}</td>' in shown
        figures = figures_of(shown)
        names = [trace["name"] for trace in figures["score-epochs"]["data"]]
        assert names[0] == role
    assert "first 10 epochs shared" in page


def test_a_metric_that_falls_and_is_no_share_reads_right(tmp_path: Path) -> None:
    overrides = ("search.baseline=true", "search.targets=[0.9]")
    sweep = SimulatedSweep(tmp_path, *overrides, metric=RMSE).search().deliver()
    page = sweep.page()
    figures, (receipt,) = figures_of(page), sweep.receipts
    for name in ("front-sparsity", "front-macs", "score-epochs"):
        axis = figures[name]["layout"]["yaxis"]
        assert axis["title"]["text"] == "validation rmse (lower is better)"
        assert "ticksuffix" not in axis
    landed, layout = figures["front-sparsity"]["data"][-1], figures["front-sparsity"]["layout"]
    assert landed["y"] == [receipt.score]
    assert [one["text"] for one in layout["annotations"]] == [f"{receipt.score:.4g}"]
    assert f'<td class="strong">{receipt.score:.4g}</td>' in page
    assert receipt.dense_score is not None
    assert f"<td>{receipt.score - receipt.dense_score:+.3g}</td>" in page
    assert "Of rmse, lower is better." in page
    files = sweep.files()
    assert not any(b"accuracy" in content for content in files.values())
    (model,) = csv.DictReader(files["models.csv"].decode().splitlines())
    assert float(model["rmse"]) == receipt.score


def test_what_is_missed_says_what_to_change(tmp_path: Path) -> None:
    overrides = ("search.targets=[0.8, 0.9]", "search.max_runs=2")
    page = SimulatedSweep(tmp_path, *overrides).search().deliver().page()
    missed = re.findall(r"<tr>.*missed.*</tr>", page)
    assert len(missed) == 1
    assert "raise search.max_runs above 2" in missed[0]
    assert 'class="text bad">missed</td><td class="text long" colspan="' in missed[0]
    assert 'id="state" class="">Finished' in page


def test_what_is_left_of_a_sweep_that_only_trained_its_start(tmp_path: Path) -> None:
    sweep = SimulatedSweep(tmp_path).search(lambda number: "" if number == 1 else "no disk")
    figures = figures_of(sweep.page())
    assert all(figure["data"] for figure in figures.values())
    assert set(figures) == {"sparsity-epochs", "score-epochs"}, "nothing was pruned"
    runs = list(sweep.record.runs)
    events = [
        event for event in sweep.journal.read() if getattr(event, "run_id", "") not in runs[1:]
    ]
    contents = contents_of(sweep.experiment, replay(events), [])
    page = report_files(contents)["report.html"].decode()
    assert set(figures_of(page)) == {"sparsity-epochs", "score-epochs"}
    assert "Nothing was pruned yet." in page


def test_nothing_is_fetched_and_links_are_the_only_addresses(sweep: SimulatedSweep) -> None:
    page = sweep.page(lambda run_id: f"https://mlflow.example/#/runs/{run_id}")
    shown = re.sub(r'(id="plotly">)[^<]*', r"\1", page)
    addresses = {f"https://mlflow.example/#/runs/{run_id}" for run_id in sweep.record.runs}
    assert set(re.findall(r"https?:[^\"' <]+", shown)) == addresses
    loaded = set(re.findall(r'(?:src|href)\s*=\s*"([^"]*)', shown)) - addresses
    assert loaded == {"data:,"}
    assert "url(" not in shown
    assert "@import" not in shown


@pytest.mark.slow
def test_a_large_sweep_stays_small(tmp_path: Path) -> None:
    sweep = SimulatedSweep(tmp_path, "training.epochs=100")
    events = sweep.start().journal.read()
    for number in range(500):
        settings = RunSettings(threshold_init=-8, weight_decay=5e-4 * 1.003**number)
        events += sweep.whole_run(f"run-{number:03d}", settings)
    files = report_files(contents_of(sweep.experiment, replay(events), []))
    assert 1_000_000 < len(files["report.html"]) < MAX_BYTES
    lines = figures_of(files["report.html"].decode())["sparsity-epochs"]["data"]
    assert len(lines) == 500
    assert all(len(line["x"]) == 51 and line["x"][-1] == 100 for line in lines)
    assert len(files["epochs.csv"].splitlines()) == 1 + 500 * 100


def test_no_name_breaks_out(tmp_path: Path) -> None:
    layers = [
        (f"{HOSTILE} {name}", weights, positions, less)
        for name, weights, positions, less in DIGITS_LAYERS
    ]
    sweep = SimulatedSweep(tmp_path, "search.targets=[0.9]", layers=layers)
    sweep.experiment = sweep.experiment.model_copy(
        update={"model": sweep.experiment.model.model_copy(update={"name": HOSTILE})}
    )
    sweep.search().deliver()
    settings = sweep.record.runs["run-002"].settings
    sweep.journal.append(
        RunProposed(run_id="run-099", settings=settings, target=None, reason=HOSTILE)
    )
    sweep.epochs("run-099", settings, count=2)
    sweep.journal.append(RunFailed(run_id="run-099", reason=HOSTILE))
    page = sweep.page(lambda run_id: f'https://x/"><img src=x>{run_id}')
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
    page = SimulatedSweep(tmp_path).start().page()
    assert figures_of(page) == {}
    assert "Nothing was tried yet." in page
    assert page.count('busy">open</td>') == 5
    assert "Not finished: the state of" in page
    assert 'class="chart"' not in page


def test_the_wheel_has_the_templates(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=600)
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if "/templates/" in name}
    service = ROOT / "service"
    here = {path.relative_to(service).as_posix() for path in service.rglob("templates/*")}
    assert packed == here
    folders = {name.rpartition("/")[0] for name in packed}
    assert folders == {"strsweep/registry/templates", "strsweep/report/templates"}


SHARES = st.floats(min_value=0, max_value=1)


@given(st.lists(SHARES, max_size=20), st.lists(SHARES, max_size=8))
def test_everything_is_shown_and_labels_keep_apart(left: list[float], targets: list[float]) -> None:
    axis = share_axis(left, targets, "sparsity", is_pruned_shown=True)
    most, least = axis["range"]
    for share in (*left, *targets):
        assert least <= math.log10(max(share, LEAST)) <= most
    places = [math.log10(tick) for tick in axis["tickvals"]]
    length = most - least
    for one, next_one in pairwise(places):
        assert one - next_one >= APART * length * (1 - 1e-9)


def test_targets_are_labelled_before_round_numbers() -> None:
    left, targets = [0.5, 0.01], [0.2, 0.1, 0.045, 0.02]
    axis = share_axis(left, targets, "sparsity", is_pruned_shown=True)
    assert axis["ticktext"] == ["50", "80", "90", "95.5", "98", "99"]
    assert axis["range"][0] > axis["range"][1]  # more pruned is further right
    assert share_axis(left, targets, "MACs", is_pruned_shown=False)["ticktext"][-1] == "1"
    assert (left_of(0.95), left_of(1.0)) == (pytest.approx(0.05), LEAST)

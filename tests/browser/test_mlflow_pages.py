"""Sweeps in MLflow's own pages, one under way and one delivered: runs, models and the report."""

from __future__ import annotations

import pytest
from chromium import Chromium
from digits_sweep import DigitsSweep
from mlflow import MlflowClient
from mlflow_server import MlflowServer
from samples import CHARTS

from strsweep.registry.server import page, runs_page

pytestmark = pytest.mark.browser
_NOT_OURS = ("/ajax-api/", "favicon")
"""MLflow asks its server for what a server of this kind does not have; that is its own affair."""
_UNFOLD = ".ag-row button[data-component-id*='runnamecellrenderer']"
"""In the row of a run that has children."""
_SIZE = (1900, 1000)
_OUTSIDE = """
const grid = document.querySelector('.ag-root').getBoundingClientRect();
const heads = [...document.querySelectorAll('.ag-header-cell[col-id*="`"]')];
const names = [...document.querySelectorAll('.ag-row a[href*="/runs/"]')];
return [...heads.filter(head => head.getBoundingClientRect().right > grid.right),
        ...names.filter(name => name.scrollWidth > name.clientWidth + 1 && name.clientWidth)]
       .map(each => each.textContent);
"""
"""The columns and names of runs that are cut off."""


@pytest.fixture(scope="module")
def half(mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> DigitsSweep:
    """A sweep that still trains."""
    folder = tmp_path_factory.mktemp("half")
    return DigitsSweep(folder, mlflow_server.uri, "digits-half").half()


def mlflow_ids(server: MlflowServer, sweep: DigitsSweep) -> dict[str, str]:
    """Return MLflow's ids of the experiment (``""``), the sweep and its runs, by run id."""
    client = MlflowClient(server.uri)
    experiment = client.get_experiment_by_name(sweep.experiment.tracking_experiment)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    ids = {run.data.tags["strsweep.run_id"]: run.info.run_id for run in runs}
    return {"": experiment.experiment_id, **ids}


def run_path(ids: dict[str, str], run_id: str, *more: str) -> tuple[str, ...]:
    return ("experiments", ids[""], "runs", ids[run_id], *more)


def says(chromium: Chromium, *texts: str) -> None:
    """Wait until the page says all of it."""
    for text in texts:
        chromium.wait(lambda text=text: text in chromium.text(), text)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_table_of_runs_tells_what_became_of_each(
    chromium: Chromium, sweep: DigitsSweep, mlflow_server: MlflowServer, scheme: str
) -> None:
    assert sweep.delivery is not None
    assert sweep.delivery.page is not None
    chromium.open(sweep.delivery.page, scheme, _SIZE)
    says(chromium, sweep.experiment.sweep_id, "2 of 3 delivered, best 9")
    assert "run-001" not in chromium.text()  # they are folded into their sweep
    chromium.element(_UNFOLD).click()
    says(chromium, "run-001 · dense · 9", "run-002 · 94 % · 9", "run-004 · 80 % · 9")
    says(chromium, "run-003 · stopped", "delivered: 94 %", "delivered: 80 %", "stopped: would end")
    for column in ("target", "state", "sparsity", "accuracy", "macs"):
        assert column in chromium.text()
    chromium.shot(f"mlflow-runs-{scheme}")
    assert chromium.driver.execute_script(_OUTSIDE) == []


def test_a_target_is_delivered_while_the_sweep_trains(
    chromium: Chromium, half: DigitsSweep, mlflow_server: MlflowServer
) -> None:
    ids = mlflow_ids(mlflow_server, half)
    chromium.open(runs_page(mlflow_server.uri, ids[""]), size=_SIZE)
    says(chromium, "1 of 3 delivered, best 9")
    chromium.element(_UNFOLD).click()
    says(chromium, "run-002 · 94 % · 9", "delivered: 94 %", "run-003", "training")
    chromium.shot("mlflow-runs-during")
    assert chromium.driver.execute_script(_OUTSIDE) == []
    chromium.open(page(mlflow_server.uri, *run_path(ids, "sweep")), size=(1900, 1800))
    says(chromium, "Asked for 80 %, 94 %, 99.5 %", "digits-half v1", "The whole report", "so far")
    chromium.shot("mlflow-sweep-during")


def test_the_page_of_the_sweep_and_of_a_run(
    chromium: Chromium, sweep: DigitsSweep, mlflow_server: MlflowServer
) -> None:
    ids = mlflow_ids(mlflow_server, sweep)
    chromium.open(page(mlflow_server.uri, *run_path(ids, "sweep")), size=(1900, 1800))
    says(chromium, "Asked for 80 %, 94 %, 99.5 %", "digits v2", "missed", "The whole report")
    chromium.shot("mlflow-sweep")
    chromium.open(page(mlflow_server.uri, *run_path(ids, "sweep", "model-metrics")), size=_SIZE)
    says(chromium, "targets_delivered", "delivered_accuracy", "best_accuracy", "front")
    front = chromium.element("img[src*='front']")
    drawn = "return arguments[0].complete && arguments[0].naturalWidth"
    chromium.wait(lambda: chromium.driver.execute_script(drawn, front), "the front")
    chromium.element(".js-plotly-plot .scatterlayer")
    chromium.shot("mlflow-sweep-charts")
    chromium.open(page(mlflow_server.uri, *run_path(ids, "run-002")), size=(1900, 1800))
    says(chromium, "run-002 · 94 % · 9", "Landed on 94 %: 94.00 % zeros", "delivered: 94 %")
    chromium.shot("mlflow-run")


def test_the_registered_model_has_aliases_and_a_description(
    chromium: Chromium, sweep: DigitsSweep, mlflow_server: MlflowServer
) -> None:
    name = sweep.experiment.model_name
    chromium.open(page(mlflow_server.uri, "models", name), size=(1900, 1300))
    says(chromium, "sparsity-80", "sparsity-94", "An alias such as", "80.00 % zeros")
    chromium.shot("mlflow-model")
    chromium.open(page(mlflow_server.uri, "models", name, "versions", "1"), size=(1900, 1600))
    says(chromium, "Asked for: 80 %", "80.00 % zeros", "What is in it")
    chromium.shot("mlflow-model-version")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_in_the_artifact_view(
    chromium: Chromium, sweep: DigitsSweep, mlflow_server: MlflowServer, scheme: str
) -> None:
    ids = mlflow_ids(mlflow_server, sweep)
    path = run_path(ids, "sweep", "artifacts", "report/report.html")
    chromium.open(page(mlflow_server.uri, *path), scheme, (1600, 1100))
    frame = chromium.element("iframe.mlflow-html-iframe")
    chromium.driver.switch_to.frame(frame)
    charts = chromium.charts()
    assert set(charts) == CHARTS
    assert all(chart["width"] > 200 and chart["drawn"] for chart in charts.values())
    assert "run-004" in chromium.hover("front-sparsity", ".points path")
    chromium.shot(f"mlflow-report-{scheme}")
    link = chromium.element("a[target]")
    address = link.get_attribute("href")
    assert address is not None
    chromium.driver.execute_script("arguments[0].click()", link)
    assert address in chromium.element("#address").text
    chromium.shot(f"mlflow-report-link-{scheme}")
    ours = [error for error in chromium.errors() if not any(part in error for part in _NOT_OURS)]
    assert ours == []

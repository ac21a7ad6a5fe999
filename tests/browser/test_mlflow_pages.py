"""A delivered sweep in MLflow's own pages: runs nested, model described, report in its place."""

from __future__ import annotations

import pytest
from chromium import Chromium
from digits_sweep import DigitsSweep
from mlflow import MlflowClient
from mlflow_server import MlflowServer
from report_charts import CHARTS

from strsweep.registry.server import page

pytestmark = pytest.mark.browser
_NOT_OURS = ("/ajax-api/", "favicon")
"""MLflow asks its server for what a server of this kind does not have; that is its own affair."""
_UNFOLD = ".ag-row button[data-component-id*='runnamecellrenderer']"
"""In the row of a run that has children."""


@pytest.fixture(scope="module")
def place(sweep: DigitsSweep, mlflow_server: MlflowServer) -> tuple[str, str]:
    """The MLflow experiment, and the run of the sweep itself."""
    client = MlflowClient(mlflow_server.uri)
    experiment = client.get_experiment_by_name(sweep.experiment.tracking_experiment)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`strsweep.run_id` = ''")
    (parent,) = runs
    return experiment.experiment_id, parent.info.run_id


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_runs_are_nested(
    chromium: Chromium,
    sweep: DigitsSweep,
    mlflow_server: MlflowServer,
    place: tuple[str, str],
    scheme: str,
) -> None:
    chromium.open(page(mlflow_server.uri, "experiments", place[0], "runs"), scheme, (1600, 900))
    chromium.wait(lambda: sweep.experiment.sweep_id in chromium.text(), "the sweep")
    assert "run-001" not in chromium.text()  # they are folded into their sweep
    chromium.element(_UNFOLD).click()
    for run_id in sweep.record.runs:
        chromium.wait(lambda run_id=run_id: run_id in chromium.text(), run_id)
    chromium.shot(f"mlflow-runs-{scheme}")


def test_the_registered_model_has_aliases_and_a_description(
    chromium: Chromium, sweep: DigitsSweep, mlflow_server: MlflowServer
) -> None:
    name = sweep.experiment.model_name
    chromium.open(page(mlflow_server.uri, "models", name), size=(1600, 1000))
    for alias in ("sparsity-80", "sparsity-94"):
        chromium.wait(lambda alias=alias: alias in chromium.text(), alias)
    chromium.shot("mlflow-model")
    chromium.open(page(mlflow_server.uri, "models", name, "versions", "1"), size=(1600, 1400))
    chromium.wait(lambda: "80" in chromium.text() and "Asked" in chromium.text(), "the card")
    chromium.shot("mlflow-model-version")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_in_the_artifact_view(
    chromium: Chromium, mlflow_server: MlflowServer, place: tuple[str, str], scheme: str
) -> None:
    path = ("experiments", place[0], "runs", place[1], "artifacts", "report/report.html")
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

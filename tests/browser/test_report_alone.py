"""The report as a file on a disk: every chart is drawn, nothing is fetched, hover works."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import Chromium
from digits_sweep import DigitsSweep
from report_charts import CHARTS

from strsweep.registry.report import comparison_files, read_sweep, report_files

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(sweep: DigitsSweep, tmp_path_factory: pytest.TempPathFactory) -> str:
    assert sweep.delivery is not None
    receipts = [model.receipt for model in sweep.delivery.models if model.receipt is not None]
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_bytes(report_files(sweep.experiment, sweep.record, receipts)["report.html"])
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_chart_is_drawn(chromium: Chromium, page: str, scheme: str) -> None:
    chromium.open(page, scheme)
    charts = chromium.charts()
    assert set(charts) == CHARTS
    for name, chart in charts.items():
        assert chart["width"] > 300, name
        assert chart["height"] > 150, name
        assert chart["traces"] > 0, name
        assert chart["drawn"] > 0, name
    chromium.shot(f"report-{scheme}", whole=True)
    assert chromium.errors() == []
    assert {url for url in chromium.requests() if not url.startswith(("data:", "blob:"))} == {page}


def test_paper_and_ink_follow_the_scheme(chromium: Chromium, page: str) -> None:
    colors = (
        "return [getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.querySelector('#thresholds .xtick text')).fill]"
    )
    seen: dict[str, list[str]] = {}
    for scheme in ("light", "dark"):
        chromium.open(page, scheme)
        chromium.charts()
        seen[scheme] = chromium.driver.execute_script(colors)
    feature = {"name": "prefers-color-scheme", "value": "light"}  # while the page is open
    chromium.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    chromium.wait(
        lambda: chromium.driver.execute_script(colors) == seen["light"], "the light scheme"
    )
    assert seen["light"][0] == "rgb(255, 255, 255)"
    assert all(light != dark for light, dark in zip(seen["light"], seen["dark"], strict=True))


@pytest.mark.parametrize(
    ("chart", "mark", "said"),
    [
        ("front-sparsity", ".points path", "run-004"),
        ("front-macs", ".points path", "MACs left"),
        ("sparsity-epochs", ".lines path", "epochs paid"),
        ("thresholds", ".points path", "threshold"),
        ("layer-sparsity", ".heatmaplayer image", "zeros"),
        ("layer-macs", ".heatmaplayer image", "of the model's"),
    ],
)
def test_hover_tells(chromium: Chromium, page: str, chart: str, mark: str, said: str) -> None:
    if chromium.driver.current_url != page:
        chromium.open(page)
        chromium.charts()
    assert said in chromium.hover(chart, mark)


def test_the_dense_network_is_a_line_with_its_name(
    chromium: Chromium, sweep: DigitsSweep, page: str
) -> None:
    assert sweep.delivery is not None
    assert sweep.delivery.dense_score is not None
    chromium.open(page)
    chromium.charts()
    for front in ("front-sparsity", "front-macs"):
        shown = [
            chromium.driver.execute_script("return arguments[0].textContent", label)
            for label in chromium.driver.find_elements("css selector", f"#{front} .shapelayer text")
        ]
        assert shown == [f"dense {100 * sweep.delivery.dense_score:.2f} %"]


def test_a_narrow_window_scrolls_tables_only(chromium: Chromium, page: str) -> None:
    chromium.open(page, size=(500, 900))
    chromium.charts()
    widths = "return [document.documentElement.scrollWidth, window.innerWidth]"
    whole, window = chromium.driver.execute_script(widths)
    assert whole <= window


def test_a_comparison(chromium: Chromium, sweep: DigitsSweep, tmp_path: Path) -> None:
    once = read_sweep(sweep.storage.location)
    path = tmp_path / "comparison.html"
    path.write_bytes(comparison_files([once, once])["comparison.html"])
    chromium.open(path.as_uri(), "dark")
    charts = chromium.charts()
    assert {chart["traces"] for chart in charts.values()} == {4}
    chromium.shot("comparison-dark", whole=True)
    assert chromium.errors() == []

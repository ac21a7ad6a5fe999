"""The report as a file on a disk: every chart is drawn, nothing is fetched, hover works."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import Chromium
from digits_sweep import DigitsSweep
from samples import CHARTS, RMSE
from simulated_sweep import SimulatedSweep, under_way

from strsweep.report import comparison_files, contents_of, read_sweep, report_files

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page(sweep: DigitsSweep, tmp_path_factory: pytest.TempPathFactory) -> str:
    assert sweep.delivery is not None
    receipts = [model.receipt for model in sweep.delivery.models if model.receipt is not None]
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    contents = contents_of(sweep.experiment, sweep.record, receipts)
    path.write_bytes(report_files(contents)["report.html"])
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
        " getComputedStyle(document.querySelector('#front-macs .xtick text')).fill]"
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
        ("thresholds", ".heatmaplayer image", "threshold"),
        ("layer-sparsity", ".heatmaplayer image", "zeros"),
        ("layer-macs", ".heatmaplayer image", "of the model's"),
    ],
)
def test_hover_tells(chromium: Chromium, page: str, chart: str, mark: str, said: str) -> None:
    if chromium.driver.current_url != page:
        chromium.open(page)
        chromium.charts()
    assert said in chromium.hover(chart, mark)


_OVERLAPS = """
const boxes = (chart) => [...chart.querySelectorAll('text')].map(text => {
  const box = text.getBoundingClientRect();
  const turned = /rotate\\((?!0)/.test(text.getAttribute('transform'));
  return {text: text.textContent, left: box.left, right: box.right, top: box.top,
          bottom: box.bottom, turned};
}).filter(box => box.text.trim() && box.right > box.left);
const meet = (a, b, free) => a.left < b.right - free && b.left < a.right - free
  && a.top < b.bottom - free && b.top < a.bottom - free;
const found = [];
for (const chart of document.querySelectorAll('.js-plotly-plot')) {
  const frame = chart.querySelector('.main-svg').getBoundingClientRect();
  const texts = boxes(chart);
  const marks = [...chart.querySelectorAll('.scatterlayer .points path')]
    .map(mark => mark.getBoundingClientRect());
  texts.forEach((text, index) => {
    if (text.left < frame.left - 1 || text.right > frame.right + 1
        || text.top < frame.top - 1 || text.bottom > frame.bottom + 1)
      found.push([chart.id, text.text, 'is cut off']);
    for (const other of texts.slice(index + 1))  /* boxes of slanted texts may meet */
      if (!(text.turned && other.turned) && meet(text, other, 2))
        found.push([chart.id, text.text, 'meets ' + other.text]);
    for (const mark of marks)
      if (meet(text, mark, 1)) found.push([chart.id, text.text, 'is covered by a mark']);
  });
}
return found;
"""
"""Every text of a chart that leaves its picture, or meets another text or a mark."""


def written(folder: Path, sweep: SimulatedSweep) -> str:
    path = folder / "report.html"
    path.write_text(sweep.page())
    return path.as_uri()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The report of a sweep during it, after it, of another metric, and of a hundred layers."""
    folders = {
        name: tmp_path_factory.mktemp(name) for name in ("during", "after", "missed", "large")
    }
    many = ("search.targets=[0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99]",)
    deep = [(f"layer{n // 10}.{n % 10}.conv2", 9216, 16, 0.3 - n / 100) for n in range(60)]
    made = {
        "during": under_way(folders["during"]),
        "after": SimulatedSweep(folders["after"], "search.baseline=true").search().deliver(),
        "missed": SimulatedSweep(
            folders["missed"], "search.targets=[0.8, 0.9, 0.99]", "search.max_runs=2", metric=RMSE
        )
        .search()
        .deliver(),
        "large": SimulatedSweep(folders["large"], *many, layers=deep).search().deliver(),
    }
    return {name: written(folders[name], sweep) for name, sweep in made.items()}


@pytest.mark.parametrize("name", ["during", "after", "missed", "large"])
@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (1400, "dark"), (390, "light")])
def test_nothing_is_cut_off_or_covered(
    chromium: Chromium, pages: dict[str, str], name: str, width: int, scheme: str
) -> None:
    chromium.open(pages[name], scheme, (width, 844), is_phone=width < 500)
    charts = chromium.charts()
    assert all(chart["drawn"] for chart in charts.values())
    assert chromium.driver.execute_script(_OVERLAPS) == []
    widths = "return [document.documentElement.scrollWidth, window.innerWidth]"
    whole, window = chromium.driver.execute_script(widths)
    assert whole <= window == width
    chromium.shot(f"report-{name}-{scheme}-{width}", whole=True)


def test_texts_that_meet_are_found(chromium: Chromium, pages: dict[str, str]) -> None:
    chromium.open(pages["after"])
    chromium.charts()
    moved = "for (const text of document.querySelectorAll('#front-sparsity .xtick text')) {{{}}}"
    for change, told in (
        ("text.setAttribute('x', 200); text.removeAttribute('transform');", "meets 90"),
        ("text.setAttribute('y', 900);", "is cut off"),
    ):
        chromium.driver.execute_script(moved.format(change))
        assert told in [why for _, _, why in chromium.driver.execute_script(_OVERLAPS)]


def test_the_dense_network_is_named_in_the_legend(
    chromium: Chromium, sweep: DigitsSweep, page: str
) -> None:
    assert sweep.delivery is not None
    assert sweep.delivery.dense_score is not None
    chromium.open(page)
    chromium.charts()
    legend = "return document.querySelector(arguments[0]).textContent"
    for front in ("front-sparsity", "front-macs"):
        shown = chromium.driver.execute_script(legend, f"#{front} .legend")
        assert f"dense {100 * sweep.delivery.dense_score:.2f} %" in shown


def test_a_comparison(chromium: Chromium, sweep: DigitsSweep, tmp_path: Path) -> None:
    once = read_sweep(sweep.storage.location)
    path = tmp_path / "comparison.html"
    path.write_bytes(comparison_files([once, once])["comparison.html"])
    chromium.open(path.as_uri(), "dark")
    charts = chromium.charts()
    assert {chart["traces"] for chart in charts.values()} == {4}
    chromium.shot("comparison-dark", whole=True)
    assert chromium.errors() == []

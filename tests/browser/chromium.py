"""Chromium as the tests use it: colour scheme, charts, hover, console, requests, screenshots."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.remote.webelement import WebElement

_T = TypeVar("_T")
_WAIT_S = 60.0
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
)
_CHARTS = """
return [...document.querySelectorAll('.js-plotly-plot')].map(chart => {
  const box = chart.querySelector('.main-svg').getBoundingClientRect();
  const marks = chart.querySelectorAll('.scatterlayer .trace path, .heatmaplayer image');
  return {id: chart.id, width: box.width, height: box.height, traces: chart.data.length,
          drawn: marks.length};
});
"""
_SIZE = "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"


class Chromium:
    """One window.

    Args:
        browser: Path of the browser.
        driver: Path of its driver.
        screenshots: Folder that ``shot`` writes to.
    """

    def __init__(self, browser: str, driver: str, screenshots: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for flag in _FLAGS:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = webdriver.ChromeService(driver)
        self.driver = webdriver.Chrome(options=options, service=service)
        self._screenshots = screenshots

    def open(
        self,
        url: str,
        scheme: str = "light",
        size: tuple[int, int] = (1400, 900),
        *,
        is_phone: bool = False,
    ) -> None:
        """Load a page anew, in a colour scheme; what was logged before is forgotten."""
        self.driver.switch_to.default_content()
        self.driver.get("about:blank")
        self.driver.set_window_size(*size)
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": is_phone}
        emulated = "setDeviceMetricsOverride" if is_phone else "clearDeviceMetricsOverride"
        self.driver.execute_cdp_cmd(f"Emulation.{emulated}", screen if is_phone else {})
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        if url.startswith("http"):  # pages remember what was unfolded
            forgotten = {"origin": "/".join(url.split("/")[:3]), "storageTypes": "all"}
            self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", forgotten)
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.driver.get(url)

    def wait(self, ready: Callable[[], _T], what: str) -> _T:
        """Return what ``ready`` gives once it gives something.

        Raises:
            AssertionError: It never did.
        """
        until = time.monotonic() + _WAIT_S
        while not (found := ready()):
            assert time.monotonic() < until, f"{what} did not come: {self.text()[:2000]}"
            time.sleep(0.1)
        return found

    def text(self) -> str:
        """Return what the page says."""
        return str(self.driver.execute_script("return document.body.innerText"))

    def charts(self) -> dict[str, dict[str, Any]]:
        """Return the charts of a report, once all are drawn, by element id."""
        drawn = "return document.body && document.body.dataset.drawn"
        count = self.wait(lambda: self.driver.execute_script(drawn), "the charts")
        found = {chart["id"]: chart for chart in self.driver.execute_script(_CHARTS)}
        assert len(found) == int(count)
        return found

    def hover(self, chart: str, mark: str) -> str:
        """Point at the first mark of a chart, and return what the hover box says."""
        element = self.element(f"#{chart} {mark}")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        ActionChains(self.driver).move_to_element(element).perform()
        text = f"return document.querySelector('#{chart} .hoverlayer').textContent"
        return str(self.wait(lambda: self.driver.execute_script(text), f"the hover box of {chart}"))

    def element(self, selector: str) -> WebElement:
        """Return the first element of a selector, once it is there."""
        find = self.driver.find_elements
        return self.wait(lambda: find("css selector", selector), selector)[0]

    def errors(self) -> list[str]:
        """Return the errors in the console since the page was opened."""
        log = self.driver.get_log("browser")
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]

    def requests(self) -> set[str]:
        """Return the addresses that were asked for since the page was opened."""
        log = [
            json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")
        ]
        sent = [entry for entry in log if entry["method"] == "Network.requestWillBeSent"]
        return {entry["params"]["request"]["url"] for entry in sent}

    def shot(self, name: str, *, whole: bool = False) -> None:
        """Write a screenshot, of the ``whole`` page or of the window."""
        shot: dict[str, Any] = {}
        if whole:
            width, height = self.driver.execute_script(_SIZE)
            area = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
            shot = {"captureBeyondViewport": True, "clip": area}
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", shot)["data"]
        (self._screenshots / f"{name}.png").write_bytes(base64.b64decode(taken))

    def quit(self) -> None:
        """Close the window and end the browser."""
        self.driver.quit()

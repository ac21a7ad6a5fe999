"""A headless Chromium, a sweep of digits that was really trained, and where screenshots go."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # the tests of this folder share its other files
sys.path.append(str(Path(__file__).parents[1] / "unit/report"))  # and sweeps without training

from chromium import Chromium
from digits_sweep import DigitsSweep
from mlflow_server import MlflowServer

SCREENSHOTS = Path(__file__).parents[2] / "results/screenshots"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("chromium or chromedriver is missing: tests/system_packages.sh installs them")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    found = Chromium(browser, driver, SCREENSHOTS)
    yield found
    found.quit()


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def sweep(
    chromium: Chromium, mlflow_server: MlflowServer, tmp_path_factory: pytest.TempPathFactory
) -> DigitsSweep:
    """Trained and delivered; not without a browser that could look at it."""
    folder = tmp_path_factory.mktemp("sweep")
    return DigitsSweep(folder, mlflow_server.uri).fill().deliver()

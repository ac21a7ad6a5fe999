"""Sweeps without training, by import and as a fixture."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # the tests of this folder share simulated_sweep.py

from simulated_sweep import SimulatedSweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSweep:
    return SimulatedSweep(tmp_path_factory.mktemp("sweep")).search().deliver()

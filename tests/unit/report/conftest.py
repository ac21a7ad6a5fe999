"""Sweeps without training, by import and as a fixture."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # the tests of this folder share simulated_sweep.py

from simulated_sweep import SimulatedSweep


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSweep:
    """Five targets and the dense network, whose first epochs all runs share."""
    folder = tmp_path_factory.mktemp("sweep")
    return SimulatedSweep(folder, "search.baseline=true").search().deliver()


@pytest.fixture(scope="module")
def sweep_without_dense(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSweep:
    """One target, and the epochs before thresholds act as a run of their own."""
    folder = tmp_path_factory.mktemp("without-dense")
    return SimulatedSweep(folder, "search.targets=[0.9]").search().deliver()

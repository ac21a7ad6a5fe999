"""An MLflow server with passwords, on PostgreSQL and S3, started by the script that people use."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # tests of this folder share their helpers

from mlflow_service import Service, missing_part
from recorded_sweep import RecordedSweep, experiment_of


@pytest.fixture(scope="session")
def service() -> Iterator[Service]:
    """The whole service, in a folder that the user of PostgreSQL can reach."""
    if missing := missing_part():
        pytest.skip(missing)
    home = Path(tempfile.mkdtemp(prefix="strsweep-service-"))
    home.chmod(0o755)
    started = Service(home)
    try:
        started.start()
        yield started
    finally:
        started.stop()
        shutil.rmtree(home)


@pytest.fixture(autouse=True)
def credentials(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a job."""
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def recorded(service: Service, tmp_path: Path) -> Callable[..., RecordedSweep]:
    """Write a sweep of one trained run; its name is that of its registered model."""

    def write(name: str, *overrides: str, runs: int = 1) -> RecordedSweep:
        sweep = RecordedSweep(experiment_of(tmp_path, service.uri, name, *overrides))
        sweep.start()
        for number in range(runs):
            sweep.run(f"run-{number + 1:03d}", seed=number)
        return sweep

    return write

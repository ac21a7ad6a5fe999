"""Sweeps that are submitted to a Ray, with storage, tracking and passwords of the service."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local_ray import running_ray
from mlflow_service import Service

from strsweep.config import Experiment, load_experiment
from strsweep.journal import Journal, SweepRecord, replay
from strsweep.storage import storage_of

ROOT = Path(__file__).parents[2]
DIGITS = "jobs/configs/digits.yaml"
EPOCHS, EVERY = 60, 5


@dataclass
class Submitted:
    """A sweep that is submitted to a Ray of its own, which has an empty folder to start in."""

    experiment: Experiment
    overrides: list[str]
    environment: dict[str, str]

    def submit(self, job: str) -> subprocess.Popen[str]:
        """Start ``jobs/NAME.py`` on the cluster."""
        settings = [part for text in self.overrides for part in ("--set", text)]
        command = ("python", f"jobs/{job}.py", "--config", DIGITS, *settings)
        return subprocess.Popen(
            ["ray", "job", "submit", "--working-dir", ".", "--", *command],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def record(self) -> SweepRecord:
        return replay(Journal(storage_of(self.experiment)).read())

    def until(self, process: subprocess.Popen[str], ready: Callable[[SweepRecord], bool]) -> None:
        """Wait for the journal to tell something."""
        while not ready(self.record):
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.3)


def said(process: subprocess.Popen[str], code: int = 0) -> str:
    """Return what a job said until its end."""
    text, _ = process.communicate(timeout=900)
    assert process.returncode == code, text
    return text


@contextmanager
def cluster(service: Service, home: Path) -> Generator[dict[str, str]]:
    """A fresh Ray whose nodes know the service; its jobs find nothing on disk.

    Yields:
        The environment of those who submit to it.
    """
    results = {"STRSWEEP_RESULTS": str(home / "results")}
    with running_ray(home, {**service.environment, **results}) as environment:
        yield environment


def told(service: Service, name: str, *overrides: str) -> tuple[Experiment, list[str]]:
    """Return a sweep of digits on the service, and its settings as a job is given them."""
    settings = [
        f"name={name}",
        "storage.path=s3://mlflow/sweeps",
        f"tracking.uri={service.uri}",
        f"training.checkpoint_every={EVERY}",
        *overrides,
    ]
    return load_experiment(ROOT / DIGITS, settings), settings


STEERED = (
    "sparsity.mode=steered",
    "search.targets=[0.9, 0.95]",
    f"training.epochs={EPOCHS}",
)
"""One run per target, the same whenever it is trained: what faults change would show."""

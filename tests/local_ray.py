"""A Ray of its own for tests, by the script that ``make quickstart`` uses, and jobs on it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import ran
from mlflow import MlflowClient
from samples import DIGITS

from strsweep.config import Experiment, load_experiment
from strsweep.journal import Event, Journal, RunRecord, SweepRecord, replay
from strsweep.storage import storage_of

ROOT = Path(__file__).parents[1]
SCRIPT = str(ROOT / "infra/local_ray.sh")


@contextmanager
def running_ray(
    home: Path, known: Mapping[str, str] | None = None, cpus: int = 2
) -> Generator[dict[str, str]]:
    """Start a Ray, and stop it in the end.

    Args:
        home: Folder for its token and addresses.
        known: Variables that its nodes are to have beside those of this process.
        cpus: That it may use.

    Yields:
        The environment in which ``ray`` and the jobs find it.
    """
    # MLflow leaves its servers in the environment: jobs must find theirs by their own settings.
    own = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    own |= known or {}
    script = {**own, "STRSWEEP_RESULTS": str(home), "LOCAL_RAY_CPUS": str(cpus)}
    subprocess.run([SCRIPT, "start"], env=script, check=True, cwd=ROOT)
    exports = (home / "ray/env").read_text()
    try:
        yield {**own, **dict(re.findall(r"(RAY_\w+)='?([^' \n]+)'?", exports))}
    finally:
        subprocess.run([SCRIPT, "stop"], env=script, check=True, cwd=ROOT)


@dataclass(frozen=True)
class Jobs:
    """Jobs of digits as a user starts them, and what they leave in one results folder."""

    known: dict[str, str]
    """The environment in which they find a Ray."""
    results: Path

    @property
    def environment(self) -> dict[str, str]:
        """That of the jobs."""
        return {**self.known, "STRSWEEP_RESULTS": str(self.results)}

    def command(self, name: str, overrides: Sequence[str], *options: str) -> list[str]:
        """Return the command line of ``jobs/NAME.py`` with these settings."""
        settings = [part for text in overrides for part in ("--set", text)]
        return [sys.executable, f"jobs/{name}.py", "--config", str(DIGITS), *settings, *options]

    def start(self, name: str, overrides: Sequence[str]) -> subprocess.Popen[str]:
        """Start a job; what it says is one text."""
        return subprocess.Popen(
            self.command(name, overrides),
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(
        self, name: str, overrides: Sequence[str], *options: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a job to its end, however that is."""
        command = self.command(name, overrides, *options)
        try:
            return ran(command, cwd=ROOT, env=self.environment, timeout=1000)
        except subprocess.TimeoutExpired as error:
            said = (error.stdout or b"").decode() + (error.stderr or b"").decode()
            pytest.fail(f"{name} hung after it had said:\n{said}\n{self._state_of_ray()}")

    def said(self, name: str, overrides: Sequence[str], *options: str) -> str:
        """Return what a job says that succeeds."""
        done = self.run(name, overrides, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def experiment(self, overrides: Sequence[str]) -> Experiment:
        """Return what a job with these settings does."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STRSWEEP_RESULTS", str(self.results))
            return load_experiment(DIGITS, overrides)

    def events(self, overrides: Sequence[str]) -> list[Event]:
        """Return the journal of a sweep."""
        return Journal(storage_of(self.experiment(overrides))).read()

    def record(self, overrides: Sequence[str]) -> SweepRecord:
        """Return what is known of a sweep."""
        return replay(self.events(overrides))

    def only_run(self, overrides: Sequence[str]) -> RunRecord:
        """Return the run of a sweep that has one."""
        (run,) = self.record(overrides).runs.values()
        return run

    @property
    def client(self) -> MlflowClient:
        """Of the database in the results folder."""
        uri = f"sqlite:///{self.results}/mlflow.db"
        return MlflowClient(tracking_uri=uri, registry_uri=uri)

    def _state_of_ray(self) -> str:
        """Return what Ray says of itself, for whoever has to find out why something hangs."""
        commands = ("status", "list placement-groups", "list actors --filter state!=DEAD")
        texts = (ran(["ray", *command.split()], env=self.known).stdout for command in commands)
        return "\n".join(texts)

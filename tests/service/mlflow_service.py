"""The local service, its faults, and what a person sees of a sweep in it."""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import requests
from commands import ran
from mlflow import MlflowClient
from mlflow.entities import ViewType
from s3_server import SHARED_VENV, S3Server

from strsweep.config import Experiment

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "infra/local_service.sh"
_URI = "MLFLOW_TRACKING_URI"


def missing_part() -> str:
    """Return why the service cannot run here; empty if it can."""
    if shutil.which("pg_ctl") or list(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")):
        return ""
    return "PostgreSQL is not installed: apt-get install postgresql"


@dataclass(frozen=True)
class Service:
    """One service below ``home``."""

    home: Path

    def start(self) -> None:
        self.run("start")

    def stop(self, *parts: str) -> None:
        self.run("stop", *parts)

    def run(self, *arguments: str) -> str:
        done = self._done(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run_fails(self, *arguments: str) -> bool:
        return self._done(*arguments).returncode != 0

    def _done(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # MLflow leaves its servers in the environment; this one is told everything by the script.
        known = {name: text for name, text in os.environ.items() if not name.startswith("MLFLOW_")}
        known |= {"STRSWEEP_RESULTS": str(self.home), "S3_VENV": str(SHARED_VENV)}
        known |= {"LOCAL_SERVICE_WORKERS": "2"}
        return ran([str(SCRIPT), *arguments], env=known)

    @functools.cached_property
    def environment(self) -> dict[str, str]:
        """What a job has in its environment; where the server is, its settings say."""
        return {name: value for name, value in self._known.items() if name != _URI}

    @property
    def uri(self) -> str:
        return self._known[_URI]

    @functools.cached_property
    def _known(self) -> dict[str, str]:
        return dict(re.findall(r"(\w+)='?([^' \n]+)'?", self.run("env")))

    @property
    def s3(self) -> S3Server:
        """Its object storage, which can be crashed alone."""
        ports = int((self.home / "service/ports").read_text())
        return S3Server(self.home / "service/s3", port=ports + 2)

    @property
    def secrets(self) -> dict[str, str]:
        """Every password and key of the service, by name."""
        folder = self.home / "service"
        found = dict(
            line.split("=", 1) for line in (folder / "secrets").read_text().split() if "=" in line
        )
        return {**found, "s3": self.environment["AWS_SECRET_ACCESS_KEY"]}

    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def kill_mlflow(self) -> None:
        """Kill the server with all its processes."""
        leader = (self.home / "service/mlflow.pid").read_text().split()[0]
        os.killpg(int(leader), signal.SIGKILL)

    @contextmanager
    def without_mlflow(self) -> Generator[None]:
        """Kill the server; it is back after the block."""
        self.kill_mlflow()
        try:
            yield
        finally:
            self.start()

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        """Ask PostgreSQL itself."""
        _, port, *_, password = (self.home / "service/pgpass").read_text().strip().split(":")
        connection = psycopg2.connect(
            host="127.0.0.1", port=port, user="strsweep", password=password, dbname="mlflow"
        )
        try:
            with connection.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall()
        finally:
            connection.close()

    def get(self, path: str, **named: Any) -> requests.Response:
        known = self.environment
        auth = (known["MLFLOW_TRACKING_USERNAME"], known["MLFLOW_TRACKING_PASSWORD"])
        return requests.get(f"{self.uri}{path}", auth=auth, timeout=30, **named)


@dataclass(frozen=True)
class Shown:
    """All of a sweep that MLflow has, without its ids and times."""

    statuses: dict[str, list[str]]
    """Our run id -> status of every run with it; the empty id is the sweep."""
    steps: dict[str, dict[str, list[int]]]
    """Our run id -> metric -> steps of its history, sorted."""
    versions: list[tuple[str, str, str]]
    """Label, hash of the weights and number of every version."""
    aliases: dict[str, str]
    logged_models: list[str]
    """Hash of the weights of every logged model, once per model."""
    outputs: dict[str, int]
    """Our run id -> models that it is linked to."""
    files: list[str]
    """Of the sweep."""


def shown(service: Service, experiment: Experiment, *, has_model: bool = True) -> Shown:
    """Return what MLflow has of a sweep, of which something was registered or not."""
    client, name = service.client(), experiment.model_name
    found = client.get_experiment_by_name(experiment.tracking_experiment)
    assert found is not None
    place = found.experiment_id
    runs = client.search_runs(
        [place], f"tags.`strsweep.sweep_id` = '{experiment.sweep_id}'", ViewType.ACTIVE_ONLY
    )
    by_id = {run.data.tags["strsweep.run_id"]: run for run in runs}
    statuses: dict[str, list[str]] = {}
    for run in runs:
        statuses.setdefault(run.data.tags["strsweep.run_id"], []).append(run.info.status)
    versions = client.search_model_versions(f"name = '{name}'")
    models = client.search_logged_models([place])
    return Shown(
        statuses=statuses,
        steps={run_id: steps_of(client, run) for run_id, run in by_id.items() if run_id != "sweep"},
        versions=sorted(
            (v.tags["label"], v.tags["weights_sha256"], str(v.version)) for v in versions
        ),
        aliases=dict(client.get_registered_model(name).aliases) if has_model else {},
        logged_models=sorted(model.tags["weights_sha256"] for model in models),
        outputs={
            run_id: len(run.outputs.model_outputs) if run.outputs else 0
            for run_id, run in by_id.items()
        },
        files=sorted(file.path for file in client.list_artifacts(by_id["sweep"].info.run_id)),
    )


def steps_of(client: MlflowClient, run: Any) -> dict[str, list[int]]:
    """Return metric -> steps of its history, sorted."""
    keys = (key for key in run.data.metrics if not key.startswith("system/"))
    return {
        key: sorted(metric.step for metric in client.get_metric_history(run.info.run_id, key))
        for key in keys
    }

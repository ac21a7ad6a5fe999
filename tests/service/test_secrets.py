"""No password and no key of the service can be read where anybody looks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from mlflow_service import Service
from recorded_sweep import RecordedSweep

DRIVER = Path(__file__).parents[1] / "killed_publisher.py"
PLANTED = "planted-secret-of-nobody"
"""In the environment of the job, where a cluster has a credential that is not ours to use."""


def text_of(folder: Path) -> str:
    files = (path for path in folder.rglob("*") if path.is_file())
    return "\n".join(path.read_bytes().decode(errors="replace") for path in files)


def processes_while(command: list[str], environment: dict[str, str]) -> tuple[str, str]:
    """Run ``command``; returns what it said, and all process lists taken meanwhile."""
    lists: list[str] = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as job:
        while job.poll() is None:
            lists.append(subprocess.check_output(["ps", "-eo", "args"], text=True))
            time.sleep(0.5)
        assert job.stdout is not None
        return job.stdout.read(), "\n".join(lists)


def dump(service: Service, database: str) -> str:
    _, port, *_ = (service.home / "service/pgpass").read_text().split(":")
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))
    program = str(newest[-1]) if newest else "pg_dump"
    return subprocess.check_output(
        [program, "-h", "127.0.0.1", "-p", port, "-U", "strsweep", database],
        env={**os.environ, "PGPASSFILE": str(service.home / "service/pgpass")},
        text=True,
    )


def leaks(places: dict[str, str], secrets: Iterable[str]) -> list[str]:
    """Return the places that hold one of the secrets, without saying it."""
    return [name for name, text in places.items() if any(secret in text for secret in secrets)]


@pytest.mark.timeout(240, func_only=True)
def test_no_secret_is_shown(
    service: Service, recorded: Callable[..., RecordedSweep], tmp_path: Path
) -> None:
    recorded("secretive")
    command = [sys.executable, str(DRIVER), str(tmp_path), service.uri, "secretive"]
    known = {**service.environment, "PATH": os.environ["PATH"], "AWS_SESSION_TOKEN": PLANTED}
    known["PYTHONPATH"] = str(DRIVER.parent)
    said, processes = processes_while(command, known)
    assert "None 0" in said
    wrong = {**known, "MLFLOW_TRACKING_PASSWORD": PLANTED}
    told, more = processes_while(command, wrong)
    assert "refuses the user admin" in told
    script = service.run("start") + service.run("status")
    places = {
        "output": said + told,
        "processes": processes + more,
        "script": script,
        "results": text_of(tmp_path),
        "log": (service.home / "service/mlflow.log").read_text(),
        "database": dump(service, "mlflow"),
        "users": dump(service, "mlflow_users"),
    }
    assert all(places.values())
    assert leaks(places, [PLANTED, *service.secrets.values()]) == []
    assert leaks({"planted": f"x{PLANTED}y"}, [PLANTED]) == ["planted"]


def test_secrets_are_readable_by_their_owner_only(service: Service) -> None:
    folder = service.home / "service"
    secrets, found = service.secrets.values(), list[str]()
    for path in folder.rglob("*"):
        if not path.is_file() or "venv" in path.parts or "postgres" in path.parts:
            continue
        content = path.read_bytes().decode(errors="replace")
        if any(secret in content for secret in secrets):
            assert path.stat().st_mode & 0o077 == 0, path.relative_to(folder)
            found.append(path.name)
    assert {"secrets", "pgpass", "users.ini"} <= set(found)

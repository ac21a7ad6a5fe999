"""The local scripts end only what they started, share nothing by accident, and listen to nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from commands import ran

ROOT = Path(__file__).parents[2]
RAY, SERVICE, S3 = (f"infra/local_{name}.sh" for name in ("ray", "service", "s3"))


def run(script: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    known = {**os.environ, "STRSWEEP_RESULTS": str(home), "LOCAL_RAY_CPUS": "1"}
    known["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{known['PATH']}"
    known["TMPDIR"] = str(home)  # as long as on a Mac, too long for Ray's sockets
    return ran([str(ROOT / script), *arguments], cwd=ROOT, env=known)


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody else's process, of a group of its own; it even names our folder."""
    command = [sys.executable, "-c", "import time; time.sleep(600)", str(tmp_path)]
    with subprocess.Popen(command, start_new_session=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("moment", ["", " 1", " Mon Nov 30 06:21:12 2026"])
@pytest.mark.parametrize(
    ("script", "file"),
    [(RAY, "ray/pid"), (SERVICE, "service/mlflow.pid"), (S3, "s3/run/proxy.pid")],
)
def test_a_number_that_was_given_anew_is_nobody_of_ours(
    stranger: subprocess.Popen[bytes], tmp_path: Path, script: str, file: str, moment: str
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(f"{stranger.pid}{moment}\n")
    done = run(script, tmp_path, "stop", *(["mlflow"] if script == SERVICE else []))
    assert (done.returncode, done.stderr) == (0, "")
    assert stranger.poll() is None
    assert not path.exists()


@pytest.mark.parametrize("command", ["run", "start", "stop"])
def test_what_another_uses_is_neither_joined_nor_ended(
    stranger: subprocess.Popen[bytes], tmp_path: Path, command: str
) -> None:
    (tmp_path / "ray").mkdir()
    began = Path(f"/proc/{stranger.pid}/stat").read_text().rpartition(")")[2].split()[19]
    held = tmp_path / "ray/held"
    held.write_text(f"{stranger.pid} {began}\n")
    done = run(RAY, tmp_path, command, "true")
    assert done.returncode == 1
    assert f"is used by process {stranger.pid}: wait until it ends" in done.stderr
    assert [path.name for path in (tmp_path / "ray").iterdir()] == ["held"]
    held.write_text(f"{stranger.pid} {began}1\n")  # the one that held it was killed
    assert run(RAY, tmp_path, "stop").returncode == 0
    assert not held.exists()


def listening(leader: int) -> dict[str, set[str]]:
    """Return the addresses that processes listen on, by their names."""
    first = psutil.Process(leader)
    found: dict[str, set[str]] = {}
    for process in [first, *first.children(recursive=True)]:
        for connection in process.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN:
                found.setdefault(process.name(), set()).add(connection.laddr.ip)
    return found


@pytest.mark.ray
def test_a_ray_is_kept_for_whoever_started_it_and_listens_on_the_loopback_alone(
    tmp_path: Path,
) -> None:
    try:
        begun = run(RAY, tmp_path, "start")
        assert begun.returncode == 0
        assert f"TMPDIR={tmp_path} is too long for Ray's sockets" in begun.stdout
        leader = int((tmp_path / "ray/pid").read_text().split()[0])
        use = "import ray; ray.init(); ray.get(ray.remote(lambda: 1).remote())"
        done = run(RAY, tmp_path, "run", sys.executable, "-c", use)
        assert done.returncode == 0, done.stderr
        assert "using the Ray that runs already" in done.stdout
        found = listening(leader)
        assert {"gcs_server", "raylet", "ray::DashboardAgent"} <= {*found}
        assert set().union(*found.values()) <= {"127.0.0.1", "::ffff:127.0.0.1"}
    finally:
        assert run(RAY, tmp_path, "stop").returncode == 0
    is_there = psutil.pid_exists(leader)
    assert not is_there or psutil.Process(leader).status() == psutil.STATUS_ZOMBIE

"""docker/: hadolint, what goes into the images, and their scripts, run for real."""

from __future__ import annotations

import configparser
import json
import os
import re
import runpy
import stat
import subprocess
from pathlib import Path

import boto3
import pytest
from commands import ran
from moto import mock_aws
from pathspec import GitIgnoreSpec

DOCKERFILES = ["docker/Dockerfile", "docker/mlflow.Dockerfile"]


def hadolint(path: Path) -> tuple[int, str]:
    done = ran(["hadolint", "--no-color", path])
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing_but_a_planted_fault(name: str, root: Path, tmp_path: Path) -> None:
    assert hadolint(root / name) == (0, "")
    (tmp_path / "Dockerfile").write_text((root / name).read_text() + "USER root\n")
    code, output = hadolint(tmp_path / "Dockerfile")
    assert code != 0
    assert "DL3002" in output


def copied(dockerfile: Path) -> list[str]:
    """Return what a Dockerfile copies from the folder it is built in."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", dockerfile.read_text(), re.MULTILINE)
    parts = [part for line in lines for part in line.split()[:-1]]
    return [part for part in parts if not part.startswith("--")]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_is_copied_exists_and_is_sent_to_the_engine(name: str, root: Path) -> None:
    ignored = docker_ignore(root)
    assert copied(root / name)
    for path in copied(root / name):
        assert (root / path).exists(), path
        files = [root / path] if (root / path).is_file() else (root / path).rglob("*.py")
        assert not any(ignored.match_file(str(file.relative_to(root))) for file in files)


def docker_ignore(root: Path) -> GitIgnoreSpec:
    # Docker's patterns start at the top folder; git's do when they begin with a slash.
    lines = (root / ".dockerignore").read_text().splitlines()
    patterns = [
        re.sub(r"^(!?)(?!\*\*)", r"\1/", line) for line in lines if line[:1] not in {"", "#"}
    ]
    return GitIgnoreSpec.from_lines(patterns)


def test_data_secrets_and_history_stay_out_of_the_engine(root: Path) -> None:
    ignored = docker_ignore(root)
    for path in (
        "results/secrets/ray_token",
        ".git/config",
        ".venv/bin/python",
        "tests/conftest.py",
    ):
        assert ignored.match_file(path), path


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_do_not_run_as_root(name: str, root: Path) -> None:
    users = re.findall(r"^USER (.*)$", (root / name).read_text(), re.MULTILINE)
    assert users[-1] == "1000:1000"


def test_the_ray_image_names_its_home_as_ray_up_needs(root: Path) -> None:
    text = (root / "docker/Dockerfile").read_text()
    assert "HOME=/home/ray" in text
    assert "RAY_AUTH_MODE=token" in text
    for tool in ("openssh-client", "rsync"):
        assert tool in text


def pinned(root: Path, constraints: Path, *more: str) -> list[str]:
    functions = runpy.run_path(str(root / "docker/requirements.py"))
    return functions["pinned"](root / "pyproject.toml", constraints, more)


def test_requirements_are_those_of_the_project_at_tested_versions(root: Path) -> None:
    lines = pinned(root, root / "constraints.txt", "google-api-python-client")
    tested = set((root / "constraints.txt").read_text().lower().replace("_", "-").split())
    assert "ray[default,train,tune]==2.60.0" in lines
    assert [line for line in lines if re.sub(r"\[.*\]", "", line).lower() not in tested] == []


def test_a_requirement_without_a_version_is_refused(root: Path, tmp_path: Path) -> None:
    text = (root / "constraints.txt").read_text()
    (tmp_path / "constraints.txt").write_text(re.sub(r"(?m)^torch==.*\n", "", text))
    with pytest.raises(SystemExit, match=r"^torch: .* has no version"):
        pinned(root, tmp_path / "constraints.txt")


def test_secrets_are_made_once_and_hidden(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    script = [root / "docker/make_secrets.sh", folder]
    subprocess.run(script, check=True, capture_output=True)
    first = {path.name: path.read_text() for path in folder.iterdir()}
    subprocess.run(script, check=True, capture_output=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == first
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert re.fullmatch(r"[0-9a-f]{64}", first["ray_token"])
    [identity] = json.loads(first["s3_identities"])["identities"]
    aws, mlflow = configparser.ConfigParser(), configparser.ConfigParser()
    aws.read_string(first["aws_credentials"])
    mlflow.read_string(first["mlflow_credentials"])
    [key] = identity["credentials"]
    assert aws["default"]["aws_access_key_id"] == key["accessKey"]
    assert aws["default"]["aws_secret_access_key"] == key["secretKey"] == first["s3_secret_key"]
    assert mlflow["mlflow"]["mlflow_tracking_password"] == first["mlflow_admin_password"]


@pytest.fixture
def server(root: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of docker/mlflow_server.sh, with a server that shows how it was started."""
    fake = tmp_path / "bin/mlflow"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nprintenv\ncat "$MLFLOW_AUTH_CONFIG_PATH"\n')
    fake.chmod(0o755)
    (tmp_path / "password").write_text("p@ss/w%rd\n")
    for name in ("admin", "flask"):
        (tmp_path / name).write_text(f"{name}-secret")
    return {
        "PATH": f"{fake.parent}{os.pathsep}{os.environ['PATH']}",
        "POSTGRES_HOST": "postgres",
        "POSTGRES_DB": "mlflow",
        "POSTGRES_USER": "mlflow",
        "POSTGRES_PASSWORD_FILE": str(tmp_path / "password"),
        "ADMIN_PASSWORD_FILE": str(tmp_path / "admin"),
        "FLASK_SECRET_FILE": str(tmp_path / "flask"),
        "ARTIFACTS": "s3://strsweep/mlflow",
        "ALLOWED_HOSTS": "mlflow:5000",
    }


def run_server(root: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    script = root / "docker/mlflow_server.sh"
    return ran([script], env=environment)


def test_the_server_gets_passwords_by_its_environment_alone(
    server: dict[str, str], root: Path
) -> None:
    done = run_server(root, server)
    assert done.returncode == 0, done.stderr
    command_line = done.stdout.split("mlflow:5000\n")[0]
    assert "secret" not in command_line
    assert "basic-auth" in command_line
    uri = "postgresql+psycopg2://mlflow:p%40ss%2Fw%25rd@postgres/mlflow"
    assert f"MLFLOW_BACKEND_STORE_URI={uri}\n" in done.stdout
    assert "MLFLOW_AUTH_ADMIN_PASSWORD=admin-secret\n" in done.stdout
    config = configparser.ConfigParser()
    config.read_string("[mlflow]" + done.stdout.rpartition("[mlflow]")[2])
    assert config["mlflow"]["database_uri"] == uri


@pytest.mark.parametrize(
    "name", ["POSTGRES_PASSWORD_FILE", "ADMIN_PASSWORD_FILE", "FLASK_SECRET_FILE"]
)
def test_the_server_does_not_start_without_a_password(
    name: str, server: dict[str, str], root: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    done = run_server(root, server | {name: str(tmp_path / "empty")})
    assert done.returncode != 0
    assert name in done.stderr
    assert done.stdout == ""


def test_the_bucket_is_created_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    create = runpy.run_path(str(root / "docker/create_bucket.py"))["create"]
    with mock_aws():
        create("strsweep")
        create("strsweep")
        [bucket] = boto3.client("s3").list_buckets()["Buckets"]
    assert bucket["Name"] == "strsweep"

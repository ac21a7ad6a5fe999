"""Every shell script that ships, through shellcheck."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(
    path
    for folder in ("infra", "jobs", "tests", "docker", ".ci")
    for path in (ROOT / folder).rglob("*")
    if path.is_file()
    and path.suffix not in {".py", ".pyc"}
    and path.read_bytes()[:32].startswith((
        b"#!/usr/bin/env bash",
        b"#!/bin/sh",
        b"# shellcheck shell",
    ))
)


def shellcheck(text: str) -> subprocess.CompletedProcess[str]:
    command = ["shellcheck", "--severity=style", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


def test_scripts_are_found() -> None:
    names = {str(path.relative_to(ROOT)) for path in SCRIPTS}
    assert names >= {
        "infra/local_ray.sh",
        "infra/slurm/strsweep.sbatch",
        "jobs/submit.sh",
        "docker/mlflow_server.sh",
        "docker/make_secrets.sh",
        "tests/run.sh",
    }


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_shellcheck_finds_nothing(path: Path) -> None:
    assert shellcheck(path.read_text()).stdout == ""


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_planted_fault_is_found_in_each(path: Path) -> None:
    done = shellcheck(path.read_text() + "\nfor f in $(ls $planted); do rm $f; done\n")
    assert done.returncode != 0
    assert "SC2086" in done.stdout

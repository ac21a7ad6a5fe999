"""Every shell script that ships, through shellcheck."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from commands import ran

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
    return ran(command, input=text)


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
def test_shellcheck_finds_nothing_but_a_planted_fault(path: Path) -> None:
    text = path.read_text()
    assert shellcheck(text).stdout == ""
    planted = shellcheck(text + "\nfor f in $(ls $planted); do rm $f; done\n")
    assert "SC2086" in planted.stdout

"""infra/slurm/strsweep.sbatch, run with stand-ins for Slurm; Ray itself judges what it is told."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from commands import ran
from ray.scripts.scripts import start
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args


@pytest.fixture
def allocation(tmp_path: Path) -> dict[str, str]:
    """Two nodes of an allocation; srun tells what it was asked, and shows the token's file."""
    commands = {
        "scontrol": "printf '%s\\n' localhost node-2",
        "srun": 'printf \'%s\\n\' "$@"; printenv; ls -l "$RAY_AUTH_TOKEN_PATH"; exit $SRUN_CODE',
    }
    (tmp_path / "bin").mkdir()
    for name, body in commands.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "SLURM_JOB_ID": "123456",
        "SLURM_JOB_NODELIST": "node-[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "16",
        "SLURM_GPUS_PER_TASK": "4",
        "SRUN_CODE": "0",
    }


def run(
    root: Path, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    command = ["bash", root / "infra/slurm/strsweep.sbatch", *arguments]
    return ran(command, env=environment, cwd=environment["HOME"])


def test_ray_starts_on_all_nodes_and_the_first_runs_the_sweep(
    allocation: dict[str, str], root: Path
) -> None:
    done = run(root, allocation | {"INTERFACE": "ib0"}, "--config", "my.yaml", "--set", "a.b=c d")
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()
    words = words[: words.index("a.b=c d") + 1]
    separator = words.index("--")
    assert words[separator + 1 :] == [
        "python",
        "jobs/sweep.py",
        "--config",
        "my.yaml",
        "--set",
        "a.b=c d",
    ]
    assert words[1:3] == ["ray", "symmetric-run"]
    # Ray's own reading: what is left is for `ray start`, which must know every word of it.
    for_start = curate_and_validate_ray_start_args(words[3:separator])
    assert "--num-gpus=4" in for_start
    start.make_context("start", list(for_start))
    assert re.search(r"127\.0\.0\.1:(2\d{4})$", words[words.index("--address") + 1])
    for line in ("RAY_AUTH_MODE=token", "NCCL_SOCKET_IFNAME=ib0", "GLOO_SOCKET_IFNAME=ib0"):
        assert line in done.stdout.splitlines()


def test_the_token_is_private_new_and_gone_afterwards(
    allocation: dict[str, str], root: Path
) -> None:
    done = run(root, allocation, "--config", "my.yaml")
    assert re.search(r"-rw------- .*slurm-123456/token", done.stdout)
    assert not list(Path(allocation["HOME"], ".strsweep").iterdir())


def test_a_failed_sweep_fails_the_allocation(allocation: dict[str, str], root: Path) -> None:
    assert run(root, allocation | {"SRUN_CODE": "3"}, "--config", "my.yaml").returncode == 3


def test_it_refuses_to_run_outside_an_allocation(allocation: dict[str, str], root: Path) -> None:
    del allocation["SLURM_JOB_ID"]
    done = run(root, allocation, "--config", "my.yaml")
    assert done.returncode != 0
    assert "submit this with sbatch" in done.stderr


def test_it_asks_for_an_experiment(allocation: dict[str, str], root: Path) -> None:
    done = run(root, allocation)
    assert done.returncode == 2
    assert "--config FILE" in done.stderr

"""A real Ray for the tests that need one, and the jobs as a user starts them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from commands import ran
from local_ray import running_ray

ROOT = Path(__file__).parents[2]
Job = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def ray_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Ray with two CPUs."""
    home = tmp_path_factory.mktemp("ray")
    # Nodes know object stores by AWS's own files; test_object_storage.py fills them.
    aws = {
        "AWS_CONFIG_FILE": f"{home}/aws.config",
        "AWS_SHARED_CREDENTIALS_FILE": f"{home}/aws.keys",
    }
    with running_ray(home, aws) as environment:
        yield environment


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """An empty results folder."""
    return tmp_path / "results"


@pytest.fixture(scope="session")
def job_in(ray_environment: dict[str, str]) -> Callable[[Path], Job]:
    """Take a results folder, and return how to run ``jobs/NAME.py ARGUMENTS`` with it."""

    def run(
        results: Path, name: str, *arguments: str, timeout: float = 1000
    ) -> subprocess.CompletedProcess[str]:
        environment = {**ray_environment, "STRSWEEP_RESULTS": str(results)}
        try:
            return ran(
                [sys.executable, f"jobs/{name}.py", *arguments],
                cwd=ROOT,
                env=environment,
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as error:
            said = (error.stdout or b"").decode() + (error.stderr or b"").decode()
            pytest.fail(f"{name} hung after it had said:\n{said}\n{state_of(ray_environment)}")

    return lambda results: partial(run, results)


@pytest.fixture
def job(job_in: Callable[[Path], Job], results: Path) -> Job:
    """Run ``jobs/NAME.py ARGUMENTS`` against the Ray of the tests."""
    return job_in(results)


def state_of(environment: dict[str, str]) -> str:
    """Return what Ray says of itself, for whoever has to find out why something hangs."""
    commands = ("status", "list placement-groups", "list actors --filter state!=DEAD")
    texts = (ran(["ray", *command.split()], env=environment).stdout for command in commands)
    return "\n".join(texts)

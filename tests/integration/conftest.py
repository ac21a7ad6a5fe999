"""A real Ray for the tests that need one, and the jobs as a user starts them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
from local_ray import Jobs, running_ray


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
def jobs(ray_environment: dict[str, str], tmp_path: Path) -> Jobs:
    """Jobs on the Ray of the tests, with an empty results folder."""
    return Jobs(ray_environment, tmp_path / "results")


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """A Ray with two CPUs that this process starts and is connected to."""
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()

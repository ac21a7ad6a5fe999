"""The files for `ray up`, through Ray's own preparation and validation, and our rules for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.v2.instance_manager.config import AutoscalingConfig
from ray.autoscaler.v2.instance_manager.subscribers.cloud_resource_monitor import (
    CloudResourceMonitor,
)
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated import instance_manager_pb2

CONFIGS = ["infra/onprem.yaml", "infra/aws.yaml", "infra/gcp.yaml"]
CLOUDS = ["infra/aws.yaml", "infra/gcp.yaml"]
Load = Callable[[str], Any]
messages: Any = instance_manager_pb2
"""Its classes are made when it is imported."""


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.autoscaler._private.docker.cli_logger.warning", lambda *_, **__: None)


@pytest.mark.parametrize("name", CONFIGS)
def test_ray_accepts_the_file_but_no_unknown_key(name: str, load: Load) -> None:
    validate_config(prepare_config(load(name)))
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(load(name) | {"head_start_ray_command": ["ray start"]}))


def starts(config: dict[str, Any], role: str) -> list[str]:
    """Return the `ray start` commands of a role, with what stands before each in its line."""
    return [line for line in config[f"{role}_start_ray_commands"] if "ray start" in line]


def authentication_faults(config: dict[str, Any]) -> list[str]:
    """Return the start commands without a token of their own accord: left unset, sides disagree."""
    lines = [*starts(config, "head"), *starts(config, "worker")]
    wanted = re.compile(r"export [^;]*\bRAY_AUTH_MODE=token\b[^;]*; *ray start")
    return [line for line in lines if not wanted.search(line)]


@pytest.mark.parametrize("name", CONFIGS)
def test_every_node_demands_the_token(name: str, load: Load) -> None:
    config = load(name)
    assert len(starts(config, "head")) == len(starts(config, "worker")) == 1
    assert authentication_faults(config) == []
    local = [path for mount, path in config["file_mounts"].items() if mount.endswith("auth_token")]
    assert local == ["~/.ray/auth_token"]
    assert any(line.startswith("chmod 600 ~/.ray/auth_token") for line in config["setup_commands"])


@pytest.mark.parametrize("role", ["head", "worker"])
def test_a_start_command_without_the_token_is_found(role: str, load: Load) -> None:
    config = load("infra/onprem.yaml")
    lines = config[f"{role}_start_ray_commands"]
    lines[-1] = lines[-1].replace("RAY_AUTH_MODE=token", "")
    assert authentication_faults(config) == [lines[-1]]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_dashboard_listens_on_loopback(name: str, load: Load) -> None:
    [command] = starts(load(name), "head")
    assert "--dashboard-host=127.0.0.1" in command.split()


def test_heads_give_no_cpus_to_training(load: Load) -> None:
    [command] = starts(load("infra/onprem.yaml"), "head")
    assert "--num-cpus=0" in command.split()
    for name in CLOUDS:
        config = load(name)
        head = config["available_node_types"][config["head_node_type"]]
        assert head["resources"] == {"CPU": 0}
        assert head["max_workers"] == 0


@pytest.mark.parametrize("name", CONFIGS)
def test_files_that_are_mounted_exist_and_are_no_secrets_of_this_repository(
    name: str, load: Load, root: Path
) -> None:
    ours = [path for path in load(name)["file_mounts"].values() if not path.startswith("~")]
    assert [path for path in ours if not (root / path).exists()] == []


@pytest.mark.parametrize("name", CONFIGS)
def test_the_commands_on_top_choose_the_autoscaler_that_fits(
    name: str, load: Load, root: Path
) -> None:
    text = (root / name).read_text()
    commands = [line for line in text.splitlines() if re.match(r"#   .*\bray up -y", line)]
    assert commands
    # On machines of one's own the newer one starts a worker too few; on clouds the older one knows
    # of no second choice.
    version = 0 if load(name)["provider"]["type"] == "local" else 1
    assert all(f"RAY_UP_enable_autoscaler_v2={version} " in line for line in commands)


@pytest.mark.parametrize("name", CONFIGS)
def test_no_secret_is_written_down(name: str, root: Path) -> None:
    text = (root / name).read_text()
    assert not re.search(
        r"AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY|RAY_AUTH_TOKEN=|secret_?key *:", text
    )
    assert not re.search(r"\b[0-9a-f]{32,}\b", text)


def machines(config: dict[str, Any], failed: Sequence[str] = ()) -> dict[str, int]:
    """Ask Ray's scheduler which machines it would start for four trainings of one GPU each.

    Args:
        config: A file for `ray up`.
        failed: Types that the cloud could not give a moment ago.
    """
    monitor = CloudResourceMonitor()
    monitor.notify([
        messages.InstanceUpdateEvent(
            instance_type=name, new_instance_status=messages.Instance.ALLOCATION_TIMEOUT
        )
        for name in failed
    ])
    types = AutoscalingConfig(config, skip_content_hash=True).get_node_type_configs()
    wanted = ResourceRequestUtil.group_by_count([
        ResourceRequestUtil.make({"CPU": 4, "GPU": 1}) for _ in range(4)
    ])
    reply = ResourceDemandScheduler().schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs=types,
            max_num_nodes=config["max_workers"] + 1,
            resource_requests=wanted,
            cloud_resource_availabilities=monitor.get_resource_availabilities(),
            recoverable_resource_availabilities=monitor.get_recoverable_resource_availabilities(),
        )
    )
    return {launch.instance_type: launch.count for launch in reply.to_launch}


@pytest.mark.parametrize("name", CLOUDS)
def test_ray_starts_spot_machines_and_on_demand_ones_when_there_are_none(
    name: str, load: Load
) -> None:
    config = load(name)
    config["auth"].pop("ssh_private_key", None)  # Ray reads the file for a checksum
    assert machines(config) == {"gpu_spot": 4}
    assert machines(config, failed=["gpu_spot"]) == {"gpu_ondemand": 2, "gpu_spot": 2}
    for kind in config["available_node_types"].values():
        kind.pop("priority", None)
        kind["max_workers"] = max(kind["max_workers"], 4)
    config["available_node_types"]["gpu_ondemand"]["priority"] = 1
    assert machines(config) == {"gpu_ondemand": 4}, "the order is made by priority alone"


def test_the_version_that_onprem_nodes_are_asked_for_is_that_of_the_tests(load: Load) -> None:
    [check] = [
        line for line in load("infra/onprem.yaml")["setup_commands"] if "ray.__version__" in line
    ]
    assert f'== "{ray.__version__}"' in check

"""infra/compose.yaml: the Compose specification, and what that leaves open: ports, secrets."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

Config = dict[str, Any]
ONE_SHOT = {"bucket"}


@pytest.fixture(scope="session")
def specification() -> Config:
    """The schema of the Compose specification, as check-jsonschema ships it."""
    folder = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    return json.loads((folder / "compose-spec.json").read_text())


@pytest.fixture
def compose(load: Callable[[str], Any]) -> Config:
    # Aliases become copies: a fault is planted in one service.
    return json.loads(json.dumps(load("infra/compose.yaml")))


@pytest.mark.parametrize("name", ["infra/compose.yaml", "infra/compose.gpu.yaml"])
def test_the_file_is_a_compose_file(
    name: str, load: Callable[[str], Any], specification: Config
) -> None:
    jsonschema.validate(load(name), specification)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(load(name) | {"servicez": {}}, specification)


def broken_references(compose: Config) -> list[str]:
    """Return secrets, networks, volumes and services that are used and not defined, or unused."""
    faults: list[str] = []
    used: dict[str, set[str]] = {"secrets": set(), "networks": set(), "volumes": set()}
    for service in compose["services"].values():
        for secret in service.get("secrets", []):
            used["secrets"].add(secret if isinstance(secret, str) else secret["source"])
        used["networks"] |= set(service.get("networks", []))
        used["volumes"] |= {volume.split(":")[0] for volume in service.get("volumes", [])}
        faults += [
            name for name in service.get("depends_on", {}) if name not in compose["services"]
        ]
    for kind, names in used.items():
        faults += sorted(names ^ set(compose[kind]))
    return faults


def test_everything_that_is_named_is_there(compose: Config) -> None:
    assert broken_references(compose) == []
    compose["services"]["head"]["secrets"].append("ray_tokn")
    assert broken_references(compose) == ["ray_tokn"]


def open_ports(compose: Config) -> list[str]:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    return [str(port) for port in ports if not str(port).startswith("127.0.0.1:")]


def test_only_the_loopback_is_published(compose: Config) -> None:
    published = {
        name: service["ports"]
        for name, service in compose["services"].items()
        if "ports" in service
    }
    assert published == {
        "head": ["127.0.0.1:8265:8265"],
        "mlflow": ["127.0.0.1:5000:5000"],
        "s3": ["127.0.0.1:8333:8333"],
    }
    assert open_ports(compose) == []
    compose["services"]["head"]["ports"].append("6379:6379")
    assert open_ports(compose) == ["6379:6379"]


def test_the_database_is_seen_by_mlflow_alone(compose: Config) -> None:
    assert compose["networks"]["database"]["internal"] is True
    inside = {n for n, s in compose["services"].items() if "database" in s["networks"]}
    assert inside == {"mlflow", "postgres"}


def test_services_wait_for_healthy_ones(compose: Config) -> None:
    services = compose["services"]
    for name, service in services.items():
        assert ("healthcheck" in service) != (name in ONE_SHOT), name
        for other, how in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
            assert how["condition"] == wanted, (name, other)
    assert set(services["worker"]["depends_on"]) == {"head"}


def secrets_in_environment(compose: Config) -> list[str]:
    """Return variables that hold a secret instead of the path of its file."""
    return [
        f"{name}.{variable}"
        for name, service in compose["services"].items()
        for variable, value in service.get("environment", {}).items()
        if any(word in variable for word in ("PASSWORD", "SECRET", "TOKEN", "KEY", "CREDENTIALS"))
        and not str(value).startswith("/run/secrets/")
    ]


def test_secrets_are_files(compose: Config) -> None:
    assert secrets_in_environment(compose) == []
    compose["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"] = "mlflow"
    assert secrets_in_environment(compose) == ["postgres.POSTGRES_PASSWORD"]


def test_paths_of_secrets_are_of_secrets_that_the_service_has(compose: Config) -> None:
    for name, service in compose["services"].items():
        given = [s if isinstance(s, str) else s["source"] for s in service.get("secrets", [])]
        text = json.dumps([service.get("environment", {}), service.get("command", "")])
        named = {part.split('"')[0] for part in text.split("/run/secrets/")[1:]}
        assert named <= set(given), name


def test_the_script_makes_the_secrets_that_are_named(compose: Config, root: Path) -> None:
    script = (root / "docker/make_secrets.sh").read_text()
    for name, secret in compose["secrets"].items():
        assert secret["file"] == f"../results/secrets/{name}"
        assert name in script
    assert "results/" in (root / ".gitignore").read_text()


def test_every_ray_node_demands_the_token_and_the_head_trains_nothing(compose: Config) -> None:
    head, worker = compose["services"]["head"], compose["services"]["worker"]
    for node in (head, worker):
        assert node["environment"]["RAY_AUTH_MODE"] == "token"
        assert "ray_token" in node["secrets"]
    assert "--num-cpus=0" in head["command"]


def test_every_service_is_contained(compose: Config) -> None:
    for service in compose["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert "privileged" not in service

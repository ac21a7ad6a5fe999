"""infra/gcp.yaml: Google's request model, then Ray's real launcher over a fake wire."""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httplib2
import pytest
from ray.autoscaler._private.gcp.config import bootstrap_gcp
from ray.autoscaler._private.gcp.node_provider import GCPNodeProvider
from ray.autoscaler._private.util import prepare_config

Config = dict[str, Any]
WORDS = {  # the model has these as free text; its documentation names the words
    "Scheduling.onHostMaintenance": {"MIGRATE", "TERMINATE"},
    "AttachedDisk.type": {"SCRATCH", "PERSISTENT"},
}


@functools.cache
def model() -> Config:
    folder = importlib.resources.files("googleapiclient") / "discovery_cache" / "documents"
    return json.loads((folder / "compute.v1.json").read_text())["schemas"]


def model_faults(value: Any, schema: Config, where: str) -> list[str]:
    """Compare a request with the model of Compute Engine: names, kinds, words of enumerations."""
    if "$ref" in schema:
        return model_faults(value, model()[schema["$ref"]], schema["$ref"])
    if schema["type"] == "object" and "properties" in schema:
        known = schema["properties"]
        faults = [f"{where}.{key}: unknown" for key in value if key not in known]
        for key in value.keys() & known.keys():
            faults += model_faults(value[key], known[key], f"{where}.{key}")
        return faults
    if schema["type"] == "array":
        return [f for item in value for f in model_faults(item, schema["items"], f"{where}[]")]
    words = set(schema.get("enum", [])) | WORDS.get(where, set())
    if words and value not in words:
        return [f"{where}: {value!r} is none of its words"]
    kinds = {"string": (str, int), "boolean": (bool,), "integer": (int,), "object": (dict,)}
    is_kind = type(value) in kinds[schema["type"]]
    return [] if is_kind else [f"{where}: {value!r} is no {schema['type']}"]


def request_faults(node_config: Config) -> list[str]:
    return model_faults(node_config, {"$ref": "Instance"}, "Instance")


@pytest.fixture
def config(load: Callable[[str], Any]) -> Config:
    return json.loads(json.dumps(load("infra/gcp.yaml")))


@pytest.mark.parametrize(
    ("fault", "found"),
    [
        (lambda c: c.update(machinType="g2-standard-8"), "Instance.machinType: unknown"),
        (lambda c: c["scheduling"].update(provisioningModel="SPOTT"), "'SPOTT' is none"),
        (lambda c: c["scheduling"].update(automaticRestart="no"), "is no boolean"),
        (lambda c: c["disks"][0]["initializeParams"].update(diskSizeGB=1), "diskSizeGB: unknown"),
    ],
)
def test_the_model_finds_a_planted_fault(
    fault: Callable[[Config], None], found: str, config: Config
) -> None:
    node_config = config["available_node_types"]["gpu_spot"]["node_config"]
    fault(node_config)
    [message] = request_faults(node_config)
    assert found in message


class Wire:
    """Google's servers as far as Ray needs them, behind the HTTP client."""

    def __init__(self) -> None:
        self.started: list[Config] = []

    def request(
        self, uri: str, method: str = "GET", body: str | None = None, **_: Any
    ) -> tuple[httplib2.Response, bytes]:
        path = re.sub(r"^https://[^/]+/|\?.*$", "", uri)
        answer = self.answer(method, path, json.loads(body or "{}"))
        status = 404 if answer is None else 200
        return httplib2.Response({"status": str(status)}), json.dumps(answer or {}).encode()

    def answer(self, method: str, path: str, body: Config) -> Config | None:
        if path.endswith("/instances") and method == "GET":
            items = [machine | {"status": "RUNNING"} for machine in self.started]
            return {"items": items} if items else {}
        if path.endswith("/instances"):
            self.started.append(body)
        if "/instances/" in path and method == "DELETE":
            self.started = [m for m in self.started if not path.endswith(m["name"])]
        if path.endswith("serviceAccounts") and method == "POST":
            email = f"{body['accountId']}@my-project.iam.gserviceaccount.com"
            return {"email": email, "projectId": "my-project"}
        if "/serviceAccounts/" in path:
            return None
        if path.endswith("Policy"):
            return {"bindings": []}
        if re.search(r"projects/my-project$", path):
            named = dict.fromkeys(("name", "projectId"), "my-project")
            return named | {"lifecycleState": "ACTIVE", "commonInstanceMetadata": {}}
        return {"name": "operation", "status": "DONE"}


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Wire:
    wire = Wire()
    answered = lambda _, *arguments, **options: wire.request(*arguments, **options)  # ruff: ignore[lambda-assignment]
    monkeypatch.setattr(httplib2.Http, "request", answered)
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray keeps the key pair that it makes in ~/.ssh
    return wire


@pytest.fixture
def bootstrapped(wire: Wire, config: Config) -> Config:
    """What `ray up` makes of the file before it starts a machine."""
    config["provider"]["gcp_credentials"] = {"type": "credentials_token", "credentials": "testing"}
    return bootstrap_gcp(prepare_config(config))


@pytest.mark.parametrize(
    ("node_type", "model_of_price", "account"),
    [
        ("head", None, "strsweep-head"),
        ("gpu_spot", "SPOT", "strsweep-worker"),
        ("gpu_ondemand", "STANDARD", "strsweep-worker"),
    ],
)
def test_ray_starts_the_machine_we_mean_and_ends_it(
    node_type: str, model_of_price: str | None, account: str, wire: Wire, bootstrapped: Config
) -> None:
    kinds = bootstrapped["available_node_types"]
    # As the launcher does: its own account first, and what the file says over it.
    asked = bootstrapped["head_node"] | kinds[node_type]["node_config"]
    provider = GCPNodeProvider(bootstrapped["provider"], bootstrapped["cluster_name"])
    tags = {
        "ray-node-type": "head" if node_type == "head" else "worker",
        "ray-user-node-type": node_type.replace("_", "-"),
        "ray-node-name": "ray-strsweep-node",
    }
    provider.create_node(asked, tags, 1)
    [machine] = wire.started
    assert request_faults(machine) == []
    [identity] = machine["serviceAccounts"]
    assert identity["email"].startswith(f"{account}@")
    assert machine.get("scheduling", {}).get("provisioningModel") == model_of_price
    assert machine["labels"]["ray-cluster-name"] == "strsweep"
    assert machine["networkInterfaces"]
    assert not any("accessConfigs" in interface for interface in machine["networkInterfaces"])
    assert bootstrapped["provider"]["use_internal_ips"] is True
    [name] = provider.non_terminated_nodes({})
    provider.terminate_node(name)
    assert provider.non_terminated_nodes({}) == []

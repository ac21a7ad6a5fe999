"""infra/kuberay: every object against its schema, and what kustomize makes of the files."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

KUBERNETES = "1.37"
ALL = ["overlays/cpu", "overlays/gpu", "quota"]
Document = dict[str, Any]
Build = Callable[[str], list[Document]]


def closed(schema: Any) -> Any:
    """Return ``schema`` with every object closed: a field that it does not name is an error."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: closed(value) for key, value in schema.items()}
    if "properties" in result:
        result.setdefault("additionalProperties", False)
    return result


@pytest.fixture(scope="session")
def custom() -> Callable[[Document], None]:
    """Check a resource of KubeRay or Kueue against the fields that custom_resources.yaml names."""
    ours = closed(yaml.safe_load(Path(__file__).with_name("custom_resources.yaml").read_text()))

    def check(document: Document) -> None:
        kind = f"{document['apiVersion']}/{document['kind']}"
        assert kind in ours["kinds"], f"{kind} is not described"
        whole = {
            "type": "object",
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "additionalProperties": False,
            "properties": {
                "apiVersion": {},
                "kind": {},
                "metadata": ours["definitions"]["metadata"],
                "spec": ours["kinds"][kind],
            },
            "definitions": ours["definitions"],
        }
        jsonschema.validate(document, whole)

    return check


def is_custom(document: Document) -> bool:
    group = document["apiVersion"].rpartition("/")[0]
    return group == "ray.io" or group.endswith(".x-k8s.io")


@pytest.fixture(scope="session")
def check_kubernetes(
    pod_templates: Callable[[Document], list[Document]],
) -> Callable[[Document], None]:
    """Check an object of Kubernetes itself, or the pods inside a custom one, strictly."""

    def check(document: Document) -> None:
        if not is_custom(document):
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
            return
        for template in pod_templates(document):
            pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}}
            kubernetes_validate.validate(pod | {"template": template}, KUBERNETES, strict=True)

    return check


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


@pytest.mark.parametrize("overlay", ALL)
def test_every_object_fits_its_schema(
    overlay: str,
    build: Build,
    custom: Callable[[Document], None],
    check_kubernetes: Callable[[Document], None],
) -> None:
    documents = build(overlay)
    assert any(is_custom(document) for document in documents)
    for document in documents:
        check_kubernetes(document)
        if is_custom(document):
            custom(document)


def _workers(job: Document) -> Document:
    return job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]


@pytest.mark.parametrize(
    "fault",
    [
        lambda job: job["spec"].update(ttlSecondsAfterFinshed=1),
        lambda job: job["spec"]["rayClusterSpec"]["authOptions"].update(mode="tokn"),
        lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update({
            "num-cpus": 0
        }),
        lambda job: _workers(job).pop("maxReplicas"),
        lambda job: _workers(job)["template"]["spec"]["containers"][0].update(resource={}),
        lambda job: _workers(job)["template"]["spec"].update(tolerations=[{"keys": "x"}]),
        lambda job: job["metadata"].update(label={"a": "b"}),
    ],
)
def test_a_fault_in_a_ray_job_is_found(
    fault: Callable[[Document], None],
    build: Build,
    custom: Callable[[Document], None],
    check_kubernetes: Callable[[Document], None],
) -> None:
    [job] = of_kind(build("overlays/gpu"), "RayJob")
    fault(job)
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        any(check(job) for check in (custom, check_kubernetes))


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("ClusterQueue", lambda d: d["spec"].update(preemtion={})),
        ("ClusterQueue", lambda d: d["spec"]["preemption"].update(withinClusterQueue="Lower")),
        ("ClusterQueue", lambda d: d["spec"]["resourceGroups"][0]["flavors"][0].pop("resources")),
        ("LocalQueue", lambda d: d["spec"].update(clusterQueue=["strsweep"])),
        ("ResourceFlavor", lambda d: d["spec"].update(nodeLabel={"a": "b"})),
    ],
)
def test_a_fault_in_a_queue_is_found(
    kind: str,
    fault: Callable[[Document], None],
    build: Build,
    custom: Callable[[Document], None],
) -> None:
    [document] = of_kind([*build("quota"), *build("overlays/gpu")], kind)
    fault(document)
    with pytest.raises(jsonschema.ValidationError):
        custom(document)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("Deployment", lambda d: d["spec"].update(replica=2)),
        ("StatefulSet", lambda d: d["spec"]["template"]["spec"].update(volume=[])),
        ("NetworkPolicy", lambda d: d["spec"].update(podSelectors={})),
        ("Service", lambda d: d["spec"]["ports"][0].update(port="http")),
    ],
)
def test_a_fault_in_an_object_of_kubernetes_is_found(
    kind: str,
    fault: Callable[[Document], None],
    build: Build,
    check_kubernetes: Callable[[Document], None],
) -> None:
    document = of_kind(build("overlays/cpu"), kind)[0]
    fault(document)
    with pytest.raises(kubernetes_validate.ValidationError):
        check_kubernetes(document)


@pytest.mark.parametrize("overlay", ALL)
def test_our_resolver_builds_what_kubectl_builds(overlay: str, build: Build, root: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl to compare with")
    folder = root / "infra/kuberay" / overlay
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, check=True)
    theirs = list(yaml.safe_load_all(done.stdout))
    key = lambda d: (d["apiVersion"], d["kind"], d["metadata"]["name"])  # ruff: ignore[lambda-assignment]
    assert sorted(build(overlay), key=key) == sorted(theirs, key=key)


@pytest.mark.parametrize("overlay", ALL)
def test_the_whole_definitions_agree(
    overlay: str, build: Build, upstream: dict[str, Document]
) -> None:
    for document in filter(is_custom, build(overlay)):
        jsonschema.validate(document, upstream[f"{document['apiVersion']}/{document['kind']}"])


@pytest.fixture(scope="session")
def upstream() -> dict[str, Document]:
    """The CustomResourceDefinitions of KubeRay and Kueue, if their files are at hand."""
    folder = os.environ.get("STRSWEEP_CRDS")
    if not folder:
        pytest.skip("STRSWEEP_CRDS names no folder with the definitions of KubeRay and Kueue")
    schemas: dict[str, Document] = {}
    for path in sorted(Path(folder).glob("*.yaml")):
        definition = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["spec"]
        for version in definition["versions"]:
            kind = f"{definition['group']}/{version['name']}/{definition['names']['kind']}"
            schemas[kind] = _strict(version["schema"]["openAPIV3Schema"])
    return schemas


def _strict(schema: Any) -> Any:
    """Return an OpenAPI schema as a closed JSON schema; what has a default need not be given."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {key: _strict(value) for key, value in schema.items() if key != "required"}
    properties = schema.get("properties")
    if isinstance(properties, dict) and schema.get("type") == "object":
        result.setdefault("additionalProperties", False)
        if properties.keys() >= {"apiVersion", "kind", "metadata", "spec"}:
            result["properties"]["metadata"] = {"type": "object"}
    required = schema.get("required")
    if isinstance(required, list):
        result["required"] = [n for n in required if "default" not in (properties or {}).get(n, {})]
    elif required is not None:
        result["required"] = _strict(required)
    return result

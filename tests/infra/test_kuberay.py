"""infra/kuberay: every object against its schema, and the references between them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

KUBERNETES = "1.37"
OVERLAYS = ["overlays/cpu", "overlays/gpu"]
ALL = [*OVERLAYS, "quota"]
Document = dict[str, Any]
Build = Callable[[str], list[Document]]
SECRETS = {
    "mlflow": {"username", "admin_password", "postgres_password", "flask_secret"},
    "ray-token": {"auth_token"},
    "s3": {"credentials", "endpoint"},
}
"""What infra/README.md asks the administrator to create."""


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


def parts(value: Any) -> Iterator[Document]:
    """Yield every mapping inside ``value``."""
    if isinstance(value, dict):
        yield value
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from parts(inner)


def pod_templates(document: Document) -> list[Document]:
    return [part for part in parts(document) if "containers" in part.get("spec", {})]


def check_kubernetes(document: Document) -> None:
    """Check an object of Kubernetes itself, or the pods inside a custom one, strictly."""
    if not is_custom(document):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        return
    for template in pod_templates(document):
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}}
        kubernetes_validate.validate(pod | {"template": template}, KUBERNETES, strict=True)


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


@pytest.mark.parametrize("overlay", ALL)
def test_every_object_fits_its_schema(
    overlay: str, build: Build, custom: Callable[[Document], None]
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
        lambda job: _workers(job)["template"]["spec"]["containers"][0].update(resourcs={}),
        lambda job: _workers(job)["template"]["spec"].update(tolerations=[{"keys": "x"}]),
        lambda job: job["metadata"].update(label={"a": "b"}),
    ],
)
def test_a_fault_in_a_ray_job_is_found(
    fault: Callable[[Document], None], build: Build, custom: Callable[[Document], None]
) -> None:
    [job] = of_kind(build("overlays/gpu"), "RayJob")
    fault(job)
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        custom(job)
        check_kubernetes(job)


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
    kind: str, fault: Callable[[Document], None], build: Build
) -> None:
    document = of_kind(build("overlays/cpu"), kind)[0]
    fault(document)
    with pytest.raises(kubernetes_validate.ValidationError):
        check_kubernetes(document)


def missing_secrets(documents: list[Document]) -> list[str]:
    """Return references to secrets, or keys of them, that the README does not ask for."""
    missing: list[str] = []
    for part in (part for document in documents for part in parts(document)):
        if "secretKeyRef" in part:
            wanted = part["secretKeyRef"]
            if wanted["key"] not in SECRETS.get(wanted["name"], ()):
                missing.append(f"{wanted['name']}.{wanted['key']}")
        secret = part.get("secret")
        if isinstance(secret, dict):
            keys = {item["key"] for item in secret.get("items", [])}
            if (
                not keys <= SECRETS.get(secret["secretName"], set())
                or secret["secretName"] not in SECRETS
            ):
                missing.append(secret["secretName"])
        options = part.get("authOptions")
        if options and options["secretName"] not in SECRETS:
            missing.append(options["secretName"])
    return missing


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_references_to_what_the_readme_creates(
    overlay: str, build: Build, root: Path
) -> None:
    documents = build(overlay)
    assert of_kind(documents, "Secret") == []
    assert missing_secrets(documents) == []
    readme = (root / "infra/README.md").read_text()
    for name, keys in SECRETS.items():
        assert f"create secret generic {name}" in readme
        assert [key for key in keys if f"{key}=" not in readme] == []
    documents[0]["x"] = {"secretKeyRef": {"name": "mlflow", "key": "postgres_pasword"}}
    assert missing_secrets(documents) == ["mlflow.postgres_pasword"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_cannot_become_root(overlay: str, build: Build) -> None:
    templates = [template for document in build(overlay) for template in pod_templates(document)]
    assert len(templates) >= 4
    for template in templates:
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in template["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_mounts_are_of_volumes_that_exist(overlay: str, build: Build) -> None:
    for document in build(overlay):
        claims = {
            c["metadata"]["name"] for c in document.get("spec", {}).get("volumeClaimTemplates", [])
        }
        for template in pod_templates(document):
            volumes = claims | {volume["name"] for volume in template["spec"].get("volumes", [])}
            mounts = {
                mount["name"]
                for container in template["spec"]["containers"]
                for mount in container.get("volumeMounts", [])
            }
            assert mounts <= volumes


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_policies_and_services_select_pods_that_exist(overlay: str, build: Build) -> None:
    documents = build(overlay)
    labels = [
        template["metadata"]["labels"]
        for document in documents
        for template in pod_templates(document)
    ]
    selectors = [
        d["spec"]["podSelector"].get("matchLabels", {}) for d in of_kind(documents, "NetworkPolicy")
    ] + [d["spec"]["selector"] for d in of_kind(documents, "Service")]
    assert {} in selectors, "all else is denied"
    for selector in selectors:
        assert any(selector.items() <= pod.items() for pod in labels), selector
    # Every pod is under a policy of its own, not just under the one that denies.
    for pod in labels:
        assert any(selector and selector.items() <= pod.items() for selector in selectors)


def test_the_job_waits_in_a_queue_that_has_what_it_asks_for(build: Build) -> None:
    documents = [*build("quota"), *build("overlays/gpu")]
    [job] = of_kind(documents, "RayJob")
    [local] = of_kind(documents, "LocalQueue")
    [queue] = of_kind(documents, "ClusterQueue")
    [flavor] = of_kind(documents, "ResourceFlavor")
    assert job["spec"]["suspend"] is True
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == local["metadata"]["name"]
    assert local["spec"]["clusterQueue"] == queue["metadata"]["name"]
    selected = queue["spec"]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
    assert selected == local["metadata"]["namespace"] == job["metadata"]["namespace"]
    [group] = queue["spec"]["resourceGroups"]
    [quota] = group["flavors"]
    assert quota["name"] == flavor["metadata"]["name"]
    assert [resource["name"] for resource in quota["resources"]] == group["coveredResources"]
    offered = {
        resource["name"]: _amount(resource["nominalQuota"]) for resource in quota["resources"]
    }
    for name, amount in _asked(job).items():
        assert amount <= offered[name], name


def _asked(job: Document) -> dict[str, float]:
    spec = job["spec"]["rayClusterSpec"]
    pods = [(1, spec["headGroupSpec"]["template"]), (1, job["spec"]["submitterPodTemplate"])]
    pods += [(group["replicas"], group["template"]) for group in spec["workerGroupSpecs"]]
    asked: dict[str, float] = {}
    for count, template in pods:
        for name, value in template["spec"]["containers"][0]["resources"]["requests"].items():
            asked[name] = asked.get(name, 0) + count * _amount(value)
    return asked


def _amount(quantity: str) -> float:
    for suffix, factor in (("Gi", 2**30), ("Mi", 2**20), ("m", 1e-3)):
        if quantity.endswith(suffix):
            return float(quantity.removesuffix(suffix)) * factor
    return float(quantity)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_heads_give_no_cpus_to_training(overlay: str, build: Build) -> None:
    heads = [p["headGroupSpec"] for d in build(overlay) for p in parts(d) if "headGroupSpec" in p]
    assert [head["rayStartParams"]["num-cpus"] for head in heads] == ["0"]


@pytest.mark.parametrize("overlay", ALL)
def test_our_resolver_builds_what_kubectl_builds(overlay: str, build: Build, root: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl to compare with")
    folder = root / "infra/kuberay" / overlay
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, check=True)
    theirs = list(yaml.safe_load_all(done.stdout))
    key = lambda d: (d["apiVersion"], d["kind"], d["metadata"]["name"])  # noqa: E731
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

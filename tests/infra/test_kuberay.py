"""infra/kuberay: objects against their schemas, and what they say of each other and allow."""

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
Parts = Callable[[Any], Iterator[Document]]
Pods = Callable[[Document], list[Document]]


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


def is_custom(document: Document) -> bool:
    group = document["apiVersion"].rpartition("/")[0]
    return group == "ray.io" or group.endswith(".x-k8s.io")


@pytest.fixture(scope="session")
def check(pod_templates: Pods) -> Callable[[Document], None]:
    """Check an object of Kubernetes itself strictly.

    One of KubeRay or Kueue is held against the fields that custom_resources.yaml names, and the
    pods inside it against those of Kubernetes.
    """
    ours = closed(yaml.safe_load(Path(__file__).with_name("custom_resources.yaml").read_text()))
    definitions = ours["definitions"]

    def check(document: Document) -> None:
        if not is_custom(document):
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
            return
        for template in pod_templates(document):
            pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "x"}}
            kubernetes_validate.validate(pod | {"template": template}, KUBERNETES, strict=True)
        spec = ours["kinds"][f"{document['apiVersion']}/{document['kind']}"]
        fields = {"apiVersion": {}, "kind": {}, "metadata": definitions["metadata"], "spec": spec}
        whole = closed({"type": "object", "required": [*fields], "properties": fields})
        jsonschema.validate(document, whole | {"definitions": definitions})

    return check


@pytest.mark.parametrize("overlay", ALL)
def test_every_object_fits_its_schema(
    overlay: str, build: Build, check: Callable[[Document], None]
) -> None:
    documents = build(overlay)
    assert any(is_custom(document) for document in documents)
    for document in documents:
        check(document)


def _workers(job: Document) -> Document:
    return job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("RayJob", lambda d: d["spec"].update(ttlSecondsAfterFinshed=1)),
        ("RayJob", lambda d: d["spec"]["rayClusterSpec"]["authOptions"].update(mode="tokn")),
        ("RayJob", lambda d: _workers(d).pop("maxReplicas")),
        ("RayJob", lambda d: _workers(d)["template"]["spec"]["containers"][0].update(resource={})),
        ("RayJob", lambda d: d["metadata"].update(label={"a": "b"})),
        ("ClusterQueue", lambda d: d["spec"]["preemption"].update(withinClusterQueue="Lower")),
        ("ClusterQueue", lambda d: d["spec"]["resourceGroups"][0]["flavors"][0].pop("resources")),
        ("LocalQueue", lambda d: d["spec"].update(clusterQueue=["strsweep"])),
        ("ResourceFlavor", lambda d: d["spec"].update(nodeLabel={"a": "b"})),
        ("Deployment", lambda d: d["spec"].update(replica=2)),
    ],
)
def test_a_planted_fault_is_found(
    kind: str,
    fault: Callable[[Document], None],
    build: Build,
    check: Callable[[Document], None],
) -> None:
    documents = [*build("quota"), *build("overlays/gpu")]
    document = next(document for document in documents if document["kind"] == kind)
    fault(document)
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(document)


@pytest.mark.parametrize("overlay", ALL)
def test_our_resolver_builds_what_kubectl_builds(overlay: str, build: Build, root: Path) -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("there is no kubectl to compare with")
    folder = root / "infra/kuberay" / overlay
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, check=True)
    theirs = list(yaml.safe_load_all(done.stdout))
    key = lambda d: (d["apiVersion"], d["kind"], d["metadata"]["name"])  # ruff: ignore[lambda-assignment]
    assert sorted(build(overlay), key=key) == sorted(theirs, key=key)


SECRETS = {
    "mlflow": {"username", "admin_password", "postgres_password", "flask_secret"},
    "ray-token": {"auth_token"},
    "s3": {"credentials", "endpoint"},
}
"""What docs/clusters.md asks the administrator to create."""


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


def missing_secrets(parts: Parts, documents: list[Document]) -> list[str]:
    """Return references to secrets, or keys of them, that the README does not ask for."""
    missing: list[str] = []
    for part in (part for document in documents for part in parts(document)):
        if "secretKeyRef" in part:
            wanted = part["secretKeyRef"]
            if wanted["key"] not in SECRETS.get(wanted["name"], ()):
                missing.append(f"{wanted['name']}.{wanted['key']}")
        secret = part.get("secret")
        if isinstance(secret, dict):
            keys, name = {item["key"] for item in secret.get("items", [])}, secret["secretName"]
            if name not in SECRETS or not keys <= SECRETS[name]:
                missing.append(name)
        options = part.get("authOptions")
        if options and options["secretName"] not in SECRETS:
            missing.append(options["secretName"])
    return missing


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_references_to_what_the_readme_creates(
    overlay: str, build: Build, parts: Parts, root: Path
) -> None:
    documents = build(overlay)
    assert of_kind(documents, "Secret") == []
    assert missing_secrets(parts, documents) == []
    readme = (root / "docs/clusters.md").read_text()
    for name, keys in SECRETS.items():
        assert f"create secret generic {name}" in readme
        assert [key for key in keys if f"{key}=" not in readme] == []
    documents[0]["x"] = {"secretKeyRef": {"name": "mlflow", "key": "postgres_pasword"}}
    assert missing_secrets(parts, documents) == ["mlflow.postgres_pasword"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_cannot_become_root(overlay: str, build: Build, pod_templates: Pods) -> None:
    templates = [template for document in build(overlay) for template in pod_templates(document)]
    assert len(templates) >= 4
    for template in templates:
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in template["spec"]["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_mounts_are_of_volumes_that_exist(overlay: str, build: Build, pod_templates: Pods) -> None:
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
def test_policies_and_services_select_pods_that_exist(
    overlay: str, build: Build, pod_templates: Pods
) -> None:
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


def test_the_job_is_not_tried_again_with_a_wrong_input(build: Build, root: Path) -> None:
    [job] = of_kind(build("overlays/gpu"), "RayJob")
    assert job["spec"]["backoffLimit"] > 0
    script, name, *_ = job["spec"]["entrypoint"].split()
    assert Path(script).name == "once.sh"
    assert os.access(root / "jobs/once.sh", os.X_OK)
    assert (root / f"jobs/{name}.py").is_file()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_heads_give_no_cpus_to_training(overlay: str, build: Build, parts: Parts) -> None:
    heads = [p["headGroupSpec"] for d in build(overlay) for p in parts(d) if "headGroupSpec" in p]
    assert [head["rayStartParams"]["num-cpus"] for head in heads] == ["0"]

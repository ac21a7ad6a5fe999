"""infra/kuberay: what its objects say of each other, and what they must not allow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

OVERLAYS = ["overlays/cpu", "overlays/gpu"]
Document = dict[str, Any]
Build = Callable[[str], list[Document]]
Parts = Callable[[Any], Iterator[Document]]
Pods = Callable[[Document], list[Document]]
SECRETS = {
    "mlflow": {"username", "admin_password", "postgres_password", "flask_secret"},
    "ray-token": {"auth_token"},
    "s3": {"credentials", "endpoint"},
}
"""What infra/README.md asks the administrator to create."""


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
    overlay: str, build: Build, parts: Parts, root: Path
) -> None:
    documents = build(overlay)
    assert of_kind(documents, "Secret") == []
    assert missing_secrets(parts, documents) == []
    readme = (root / "infra/README.md").read_text()
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


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_heads_give_no_cpus_to_training(overlay: str, build: Build, parts: Parts) -> None:
    heads = [p["headGroupSpec"] for d in build(overlay) for p in parts(d) if "headGroupSpec" in p]
    assert [head["rayStartParams"]["num-cpus"] for head in heads] == ["0"]
